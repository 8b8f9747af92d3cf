import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/components.css";
import "./styles/overlays.css";
import { render } from "solid-js/web";
import { askSession } from "./api/session";
import { App } from "./app";

void askSession();
const root = document.getElementById("app");
if (root) render(() => <App />, root);
