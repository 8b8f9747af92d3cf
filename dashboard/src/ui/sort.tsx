import "./sort.css";
import { createSignal, For } from "solid-js";

export interface SortColumn<T> {
  key: string;
  text: string;
  /** What rows are ordered by, the largest first; text from A on. */
  by: (row: T) => number | string | null;
  number?: boolean;
}

/** Rows in an order that the heads of their columns change. */
export function createSort<T>(columns: SortColumn<T>[], first: string) {
  const [order, setOrder] = createSignal({ key: first, turned: false });
  const sorted = (rows: T[]): T[] => {
    const column = columns.find((one) => one.key === order().key);
    if (!column) return rows;
    const compare = (a: T, b: T) => {
      const [x, y] = [column.by(a), column.by(b)];
      if (typeof x === "string" || typeof y === "string") return String(x).localeCompare(String(y));
      return (y ?? -1) - (x ?? -1);
    };
    const turn = order().turned ? -1 : 1;
    return [...rows].sort((a, b) => turn * compare(a, b));
  };
  function Heads() {
    return (
      <For each={columns}>
        {(column) => {
          const here = () => order().key === column.key;
          // Numbers begin with the largest, names with A.
          const down = () => order().turned !== (column.number ?? false);
          return (
            <th
              scope="col"
              classList={{ number: column.number ?? false }}
              aria-sort={here() ? (down() ? "descending" : "ascending") : undefined}
            >
              <button
                type="button"
                class="sort"
                onClick={() => setOrder({ key: column.key, turned: here() && !order().turned })}
              >
                {column.number && here() ? <span aria-hidden="true">{down() ? "↓ " : "↑ "}</span> : null}
                {column.text}
                {!column.number && here() ? <span aria-hidden="true">{down() ? " ↓" : " ↑"}</span> : null}
              </button>
            </th>
          );
        }}
      </For>
    );
  }
  return { sorted, Heads };
}
