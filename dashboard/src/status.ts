import { createContext, useContext } from "solid-js";
import type { Query } from "./api/query";
import type { Status } from "./api/types";

const StatusContext = createContext<Query<Status>>();
export const StatusProvider = StatusContext.Provider;

/** What the server last said of itself; one poll for the whole page. */
export function useStatus(): Query<Status> {
  const status = useContext(StatusContext);
  if (status === undefined) throw new Error("useStatus is called outside the signed-in shell");
  return status;
}
