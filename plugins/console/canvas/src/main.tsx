import "@xyflow/react/dist/style.css";
import "./canvas.css";

import { createRoot } from "react-dom/client";

import { App } from "./App";

const place = document.getElementById("canvas");
if (place) {
  const { name = "", publish = "" } = place.dataset;
  createRoot(place).render(<App name={name} mayPublish={publish === "yes"} />);
}
