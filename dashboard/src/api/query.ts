import { type Accessor, createEffect, createSignal, on, onCleanup } from "solid-js";
import { createStore, reconcile } from "solid-js/store";
import { asProblem, type Problem } from "./client";
import { connectionRestored } from "./live";

export interface Query<T> {
  /** The last good answer; it stays while a newer one is fetched or fails. */
  data: Accessor<T | undefined>;
  error: Accessor<Problem | null>;
  loading: Accessor<boolean>;
  refetch: () => void;
}

interface Options<T> {
  /** Milliseconds between polls, while the page is visible; by what was answered last, where it matters how much that is. */
  every?: number | ((last: T | undefined) => number);
  /** The field that identifies a row, so that a refresh keeps rows (and the focus in them) in place. */
  key?: string;
}

/** Fetches when `source` changes, on a timer, and when a lost connection comes back. */
export function createQuery<S, T extends object>(
  source: Accessor<S>,
  load: (source: S, signal: AbortSignal) => Promise<T>,
  options: Options<T> = {},
): Query<T> {
  const [store, setStore] = createStore<{ value: T | undefined }>({ value: undefined });
  const [error, setError] = createSignal<Problem | null>(null);
  const [loading, setLoading] = createSignal(true);
  let controller = new AbortController();

  async function run(of: S): Promise<void> {
    controller.abort();
    const mine = new AbortController();
    controller = mine;
    setLoading(true);
    try {
      const value = await load(of, mine.signal);
      if (mine.signal.aborted) return;
      setStore("value", reconcile(value, { key: options.key ?? "id" }));
      setError(null);
    } catch (failure) {
      if (mine.signal.aborted) return;
      setError(asProblem(failure));
    }
    setLoading(false);
  }

  const refetch = () => void run(source());
  createEffect(on(source, (of) => void run(of)));
  createEffect(on(connectionRestored, refetch, { defer: true }));

  if (options.every !== undefined) {
    const { every } = options;
    let timer: ReturnType<typeof setTimeout>;
    const wait = () => {
      timer = setTimeout(
        () => {
          if (!document.hidden && !loading()) refetch();
          wait();
        },
        typeof every === "number" ? every : every(store.value),
      );
    };
    wait();
    onCleanup(() => clearTimeout(timer));
  }
  onCleanup(() => controller.abort());

  return { data: () => store.value, error, loading, refetch };
}

export interface Action<A extends unknown[]> {
  run: (...args: A) => Promise<boolean>;
  pending: Accessor<boolean>;
  problem: Accessor<Problem | null>;
  clear: () => void;
}

/** A change under way: one at a time, with its refusal kept for the form that asked. Resolves true on success. */
export function createAction<A extends unknown[]>(perform: (...args: A) => Promise<void>): Action<A> {
  const [pending, setPending] = createSignal(false);
  const [problem, setProblem] = createSignal<Problem | null>(null);
  return {
    pending,
    problem,
    clear: () => setProblem(null),
    run: async (...args) => {
      if (pending()) return false;
      setPending(true);
      setProblem(null);
      try {
        await perform(...args);
        return true;
      } catch (error) {
        setProblem(asProblem(error));
        return false;
      } finally {
        setPending(false);
      }
    },
  };
}
