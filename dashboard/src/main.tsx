import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/buttons.css";
import "./styles/surfaces.css";
import "./styles/tables.css";
import "./styles/forms.css";
import "./styles/tabs.css";
import "./styles/states.css";
import "./styles/overlays.css";
import { render } from "solid-js/web";
import { askSession } from "./api/session";
import { App } from "./app";

void askSession();
const root = document.getElementById("app");
if (root) render(() => <App />, root);
