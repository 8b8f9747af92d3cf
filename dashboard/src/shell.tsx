import {
  createEffect,
  createSignal,
  ErrorBoundary,
  For,
  lazy,
  on,
  onCleanup,
  onMount,
  Show,
  Suspense,
} from "solid-js";
import { Dynamic } from "solid-js/web";
import { AlertsProvider, createAlerts, tally, worst } from "./alerts";
import { api, asProblem } from "./api/client";
import { connection, reconnectNow, startLive, systemEvent } from "./api/live";
import { createQuery } from "./api/query";
import { sessionState, signOut } from "./api/session";
import type { Alert, ServiceStatus, Status } from "./api/types";
import { span } from "./format";
import { href, route } from "./router";
import { StatusProvider } from "./status";
import { setTheme, type Theme, theme } from "./theme";
import { Brand } from "./ui/brand";
import { Icon, type IconName } from "./ui/icon";
import { notify } from "./ui/notify";
import { Notice, ProblemNotice, Skeleton } from "./ui/states";
import { createNow } from "./ui/widgets";

const Toasts = lazy(() => import("./ui/toasts"));

interface Section {
  path: string;
  text: string;
  icon: IconName;
  /** The service whose page this is; the page is offered where the server runs the service. */
  service?: string;
  /** The page says how to have the service where there is none: it is offered all the same. */
  teaches?: boolean;
  page: ReturnType<typeof lazy>;
}

const SECTIONS: Section[] = [
  { path: "overview", text: "Overview", icon: "overview", page: lazy(() => import("./pages/overview")) },
  { path: "dhcp", text: "DHCP", icon: "dhcp", service: "dhcp", page: lazy(() => import("./pages/dhcp")) },
  { path: "web", text: "Web", icon: "web", service: "front", page: lazy(() => import("./pages/web")) },
  {
    path: "proxy",
    text: "Proxy",
    icon: "proxy",
    service: "proxy",
    page: lazy(() => import("./pages/proxy")),
  },
  {
    path: "sdwan",
    text: "SD-WAN",
    icon: "sdwan",
    service: "sdwan",
    teaches: true,
    page: lazy(() => import("./pages/sdwan")),
  },
  { path: "settings", text: "Settings", icon: "settings", page: lazy(() => import("./pages/settings")) },
];

function ThemeButton() {
  const next: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };
  const icon: Record<Theme, IconName> = { auto: "auto", light: "sun", dark: "moon" };
  const name: Record<Theme, string> = { auto: "as the system", light: "light", dark: "dark" };
  return (
    <button
      type="button"
      class="button quiet icon"
      aria-label={`Theme: ${name[theme()]}. Change to ${name[next[theme()]]}`}
      title={`Theme: ${name[theme()]}`}
      onClick={() => setTheme(next[theme()])}
    >
      <Icon name={icon[theme()]} />
    </button>
  );
}

function ConnectionBanner() {
  const now = createNow(1000, Date.now);
  // A reconnection within a moment is not worth a banner.
  const [shown, setShown] = createSignal(false);
  let timer: ReturnType<typeof setTimeout> | undefined;
  createEffect(() => {
    if (connection().phase === "open") {
      clearTimeout(timer);
      timer = undefined;
      setShown(false);
    } else if (connection().phase === "lost") timer ??= setTimeout(() => setShown(true), 1500);
  });
  onCleanup(() => clearTimeout(timer));
  const wait = () => {
    const state = connection();
    return state.phase === "lost" ? Math.max(0, Math.ceil((state.retryAt - now()) / 1000)) : 0;
  };
  return (
    <Show when={shown()}>
      <div class="banner" role="alert">
        <Icon name="offline" />
        <span>
          Connection to Outwork lost. What you see may be old.{" "}
          <span class="muted" aria-hidden="true">
            {wait() > 0 ? `Retrying in ${wait()} s` : "Retrying…"}
          </span>
        </span>
        <button type="button" class="button small" onClick={reconnectNow}>
          Retry now
        </button>
      </div>
    </Show>
  );
}

function StateDot(props: { service: ServiceStatus }) {
  const tone = () =>
    props.service.state === "failed"
      ? "bad"
      : props.service.state === "running" && !props.service.ready
        ? "warn"
        : // What is not configured is nothing to worry about.
          null;
  return (
    <Show when={tone()}>
      {(shade) => <span class={`dot ${shade()}`} role="img" aria-label={props.service.state} />}
    </Show>
  );
}

/** How many alerts hold, beside the page that shows them. */
function AlertCount(props: { alerts: Alert[] }) {
  return (
    <Show when={worst(props.alerts)}>
      {(severity) => (
        <span class={`nav-count ${severity()}`} title={tally(props.alerts)}>
          <Icon name={severity() === "critical" ? "critical" : "alert"} size={12} />
          <span aria-hidden="true">{props.alerts.length}</span>
          <span class="visually-hidden">, {tally(props.alerts)}</span>
        </span>
      )}
    </Show>
  );
}

export function Shell() {
  const status = createQuery<null, Status>(
    () => null,
    (_, signal) => api.get("/status", signal),
    { every: 10_000, key: "name" },
  );
  createEffect(on(systemEvent, status.refetch, { defer: true }));
  const alerts = createAlerts();
  const holding = () => alerts.data()?.items ?? [];
  onMount(() => onCleanup(startLive()));

  const service = (name: string) => status.data()?.services.find((one) => one.name === name);
  const sections = () =>
    SECTIONS.filter((section) => !section.service || section.teaches || service(section.service));
  const current = () => {
    const [path = "overview", ...rest] = route().segments;
    // Whatever is below the Overview is nothing; other sections know their pages themselves.
    return path === "overview" && rest.length > 0
      ? undefined
      : SECTIONS.find((section) => section.path === path);
  };
  createEffect(() => {
    const host = status.data()?.host;
    document.title = `${current()?.text ?? "Not found"} · ${host ? `${host} · ` : ""}Outwork`;
  });

  const user = () => {
    const state = sessionState();
    return state.phase === "in" ? state.session : null;
  };
  const leave = () => signOut().catch((error) => notify(asProblem(error).message, "bad"));

  return (
    <StatusProvider value={status}>
      <button type="button" class="skip" onClick={() => document.getElementById("main")?.focus()}>
        Skip to content
      </button>
      <div class="shell">
        <header class="rail">
          <a class="brand" href={href("/overview")} aria-label="Outwork, overview">
            <Brand /> Outwork
          </a>
          <nav class="nav" aria-label="Main">
            <For each={sections()}>
              {(section) => (
                <a
                  href={href(`/${section.path}`)}
                  aria-current={current()?.path === section.path ? "page" : undefined}
                >
                  <Icon name={section.icon} />
                  {section.text}
                  <Show when={section.service ? service(section.service) : undefined}>
                    {(one) => <StateDot service={one()} />}
                  </Show>
                  <Show when={section.path === "overview"}>
                    <AlertCount alerts={holding()} />
                  </Show>
                </a>
              )}
            </For>
          </nav>
          <div class="rail-foot">
            <Show when={status.data()}>
              {(now) => (
                <div class="rail-host">
                  <strong>{now().host}</strong>
                  Outwork {now().version}, <span class="nowrap">up {span(now().uptime_seconds)}</span>
                </div>
              )}
            </Show>
            <div class="rail-user">
              <div>
                <strong>{user()?.name}</strong>
                {user()?.role}
              </div>
              <ThemeButton />
              <button
                type="button"
                class="button quiet icon"
                aria-label="Sign out"
                title="Sign out"
                onClick={() => void leave()}
              >
                <Icon name="exit" />
              </button>
            </div>
          </div>
        </header>
        <main class="main" id="main" tabindex="-1">
          <ErrorBoundary fallback={(error, reset) => <PageFailed error={error} reset={reset} />}>
            <Suspense fallback={<Skeleton height={480} />}>
              <AlertsProvider value={alerts}>
                <Show when={current()} fallback={<NotFound />}>
                  {(section) => <Dynamic component={section().page} />}
                </Show>
              </AlertsProvider>
            </Suspense>
          </ErrorBoundary>
        </main>
      </div>
      {/* Those who hear the page are told when how many hold changes, not each time their figures do. */}
      <div class="visually-hidden" role="status" aria-label="Alerts that hold">
        {tally(holding())}
      </div>
      <ConnectionBanner />
      <Suspense>
        <Toasts />
      </Suspense>
    </StatusProvider>
  );
}

/** A page's code is fetched when it is first visited: by then a newer server may have other files. */
function PageFailed(props: { error: unknown; reset: () => void }) {
  const notFetched = () => props.error instanceof Error && /import|preload/i.test(props.error.message);
  return (
    <Show
      when={notFetched()}
      fallback={<ProblemNotice problem={asProblem(props.error)} retry={props.reset} />}
    >
      <Notice
        tone="bad"
        action={
          <button type="button" class="button small" onClick={() => location.reload()}>
            Reload
          </button>
        }
      >
        <strong>This page could not be fetched</strong>
        <div>Outwork cannot be reached, or was updated since this dashboard was opened.</div>
      </Notice>
    </Show>
  );
}

function NotFound() {
  return (
    <div class="empty">
      <h1>There is no such page</h1>
      <a class="button" href={href("/overview")}>
        Go to the overview
      </a>
    </div>
  );
}
