import { href, route } from "../router";
import { Empty } from "./states";

/** What stands where a section has no page of that name: nothing that could be taken for another. */
export function NoPage(props: { first: { path: string; text: string } }) {
  return (
    <section class="card" aria-label="No such page">
      <Empty icon="search" title="There is no such page">
        <p>
          Nothing is at <code>{`/${route().segments.join("/")}`}</code>. It may be mistyped, or belong to
          another version of Outwork.
        </p>
        <a class="button" href={href(props.first.path)}>
          Go to {props.first.text}
        </a>
      </Empty>
    </section>
  );
}
