// The picture: the source's tree on the left, the target's on the right, lines with their stations between them.

import {
  Background,
  type Connection,
  type Edge,
  Handle,
  type Node,
  type NodeProps,
  Position,
  ReactFlow,
  ReactFlowProvider,
  useReactFlow,
  useUpdateNodeInternals,
} from "@xyflow/react";
import { createContext, type FocusEvent, type KeyboardEvent, memo, useContext, useEffect, useMemo, useRef } from "react";

import type { Canvas, Field, Share, Trace } from "./api";
import { type Row, joined, stations } from "./fields";

const ROW = 34;
const HEAD = 44;
const LEFT = { x: 0, width: 300 };
const MIDDLE = { x: 400, width: 250 };
const RIGHT = { x: 750, width: 320 };
const EDGE = 12; // around the picture
const MOST_SMALL = 0.3;

export interface Chosen {
  source: string;
  target: string;
}

interface Shown {
  canvas: Canvas;
  trace: Trace | null;
  shares: Map<string, Share>;
  chosen: Chosen;
  wrong: Set<string>;
  seen: { source: Row[]; target: Row[] }; // the rows that the search has left
  chooseSource: (path: string) => void;
  chooseTarget: (path: string, draw: boolean) => void;
}

const Context = createContext<Shown | null>(null);

function useShown(): Shown {
  const found = useContext(Context);
  if (!found) throw new Error("no canvas");
  return found;
}

/** Up and down between the rows of a tree; the rest is what buttons do. */
function moves(event: KeyboardEvent<HTMLElement>) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const all = [...event.currentTarget.querySelectorAll<HTMLButtonElement>("button")];
  const at = all.indexOf(document.activeElement as HTMLButtonElement);
  all[Math.max(0, Math.min(all.length - 1, at + step))]?.focus();
}

function percent(share: Share | undefined): string {
  return share && share.of ? `${Math.floor((100 * share.given) / share.of)} %` : "";
}

function SourceTree() {
  const { canvas, trace, shares, chosen, seen, chooseSource } = useShown();
  return (
    <section className="tree-node nodrag nopan" data-tree="source" aria-label={`Source: ${canvas.source_document}`} onKeyDown={moves}>
      <h2>
        {canvas.source_document} <span>{canvas.source_system.replace("_", " ")}</span>
      </h2>
      {seen.source.map(({ field, depth }) => {
        const share = shares.get(field.path);
        const values = joined(trace?.source[field.path]);
        const told = share ? `${field.words}, given in ${share.given} of ${share.of}` : field.words;
        const label = <Words field={field} values={values} share={percent(share)} more={told} />;
        return (
          <div key={field.path} className={`row ${field.state} depth${Math.min(depth, 3)}`}>
            {field.takes ? (
              <button
                type="button"
                aria-pressed={chosen.source === field.path}
                data-path={field.path}
                title={title(field)}
                onClick={() => chooseSource(field.path)}
              >
                {label}
              </button>
            ) : (
              <div className="group" title={title(field)}>
                {label}
              </div>
            )}
            <Handle type="source" position={Position.Right} id={field.path} isConnectable={field.takes} />
          </div>
        );
      })}
    </section>
  );
}

export const STATES = { missing: "required, and nothing maps it", mapped: "mapped", not_sent: "not sent", free: "not mapped" };

function TargetTree() {
  const { canvas, trace, chosen, wrong, seen, chooseTarget } = useShown();
  return (
    <section className="tree-node nodrag nopan" data-tree="target" aria-label={`Target: ${canvas.target_document}`} onKeyDown={moves}>
      <h2>
        {canvas.target_document} <span>{canvas.target_system.replace("_", " ")}</span>
      </h2>
      {seen.target.map(({ field, depth }) => {
        const values = joined(trace?.ways[field.path]?.at(-1)?.values);
        const state = STATES[field.state as keyof typeof STATES];
        const bad = wrong.has(field.path) ? ", something is wrong here" : "";
        const label = <Words field={field} values={values} share="" more={[field.words, state + bad, field.hint].filter(Boolean).join(", ")} />;
        return (
          <div
            key={field.path}
            className={`row ${field.state} depth${Math.min(depth, 3)}${bad ? " wrong" : ""}`}
          >
            <Handle type="target" position={Position.Left} id={field.path} isConnectable={field.takes} />
            {field.takes ? (
              <button
                type="button"
                aria-pressed={chosen.target === field.path}
                data-path={field.path}
                title={title(field)}
                onClick={() => chooseTarget(field.path, true)}
              >
                {label}
              </button>
            ) : (
              <div className="group" title={title(field)}>
                {label}
              </div>
            )}
          </div>
        );
      })}
    </section>
  );
}

function title(field: Field): string {
  return [field.words, field.description, field.hint && `${field.name} ${field.hint}`].filter(Boolean).join(". ");
}

/** What stands in a row; whoever does not see it hears the object around the field, too, and `more`. */
function Words({ field, values, share, more }: { field: Field; values: string; share: string; more: string }) {
  const around = field.path.slice(0, -field.name.length);
  return (
    <>
      <span className="name">
        {around && <span className="hidden">{around}</span>}
        {field.name}
        <span className="hidden">, {more}</span>
        {field.required && <b title="required"> *</b>}
        <i>{share || field.type}</i>
      </span>
      {values && <span className="value">{values}</span>}
    </>
  );
}

function Station({ data }: NodeProps<Node<{ path: string; words: string[] }>>) {
  const { trace, chosen, wrong, chooseTarget } = useShown();
  const stops = trace?.ways[data.path] ?? [];
  const last = stops.filter((stop) => stop.kind !== "target").at(-1);
  return (
    <div className={`station${wrong.has(data.path) ? " wrong" : ""}`}>
      <Handle type="target" position={Position.Left} isConnectable={false} />
      <button
        type="button"
        aria-pressed={chosen.target === data.path}
        data-station={data.path}
        onClick={() => chooseTarget(data.path, false)}
      >
        <span className="words">
          <span className="hidden">{data.path}: </span>
          {data.words.join(" → ")}
        </span>
        {last && <span className="value">{joined(last.values)}</span>}
      </button>
      <Handle type="source" position={Position.Right} isConnectable={false} />
    </div>
  );
}

const KINDS = { source: memo(SourceTree), target: memo(TargetTree), station: Station };

interface Props extends Shown {
  dark: boolean;
  drawn: (source: string, target: string) => void;
}

export function Flow(props: Props) {
  return (
    <ReactFlowProvider>
      <Picture {...props} />
    </ReactFlowProvider>
  );
}

/** Both trees fit the width; a row that gets the focus is moved into sight. */
function useSight() {
  const { getViewport, setViewport } = useReactFlow();
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const within = place.current;
    if (!within) return;
    const fit = () => {
      const zoom = Math.max(MOST_SMALL, Math.min(1, (within.clientWidth - 2 * EDGE) / (RIGHT.x + RIGHT.width)));
      const { y, zoom: before } = getViewport();
      setViewport({ x: EDGE, y: y === EDGE ? EDGE : (y * zoom) / before, zoom });
    };
    const watch = new ResizeObserver(fit);
    watch.observe(within);
    return () => watch.disconnect();
  }, [getViewport, setViewport]);
  const focused = (event: FocusEvent<HTMLElement>) => {
    const within = place.current;
    if (!within) return;
    for (const one of within.querySelectorAll(".react-flow, .react-flow__renderer, .react-flow__pane")) one.scrollTop = 0;
    within.scrollTop = 0;
    if (!event.target.matches(":focus-visible")) return;
    const row = event.target.getBoundingClientRect();
    const frame = within.getBoundingClientRect();
    const by = Math.min(0, frame.bottom - row.bottom - 3 * EDGE) + Math.max(0, frame.top - row.top + 3 * EDGE);
    const { x, y, zoom } = getViewport();
    if (by) setViewport({ x, y: y + by, zoom });
  };
  return { place, focused };
}

function Picture({ dark, drawn, ...shown }: Props) {
  const { place, focused } = useSight();
  const { canvas, chosen, seen } = shown;
  const { nodes, edges } = useMemo(() => picture(canvas, chosen, seen), [canvas, chosen, seen]);
  const measure = useUpdateNodeInternals();
  const { getViewport, setViewport } = useReactFlow();
  useEffect(() => {
    measure(["source", "target"]);
    setViewport({ ...getViewport(), y: EDGE });
  }, [seen.source.length, seen.target.length, measure, getViewport, setViewport]);
  const connect = (made: Connection) => {
    if (made.sourceHandle && made.targetHandle) drawn(made.sourceHandle, made.targetHandle);
  };
  return (
    <Context.Provider value={shown}>
      <div className="sight" ref={place} onFocus={focused}>
      <ReactFlow
        nodes={nodes}
        edges={edges}
        nodeTypes={KINDS}
        colorMode={dark ? "dark" : "light"}
        onConnect={connect}
        isValidConnection={(made) => made.source === "source" && made.target === "target"}
        onEdgeClick={(_, edge) => shown.chooseTarget(edge.data?.path as string, false)}
        nodesDraggable={false}
        nodesFocusable={false}
        edgesFocusable={false}
        elementsSelectable={false}
        disableKeyboardA11y
        deleteKeyCode={null}
        panOnScroll
        zoomOnScroll={false}
        zoomOnDoubleClick={false}
        preventScrolling
        connectionRadius={24}
        minZoom={MOST_SMALL}
        maxZoom={1.5}
        defaultViewport={{ x: EDGE, y: EDGE, zoom: 1 }}
        proOptions={{ hideAttribution: true }}
      >
        <Background gap={24} />
      </ReactFlow>
      </div>
    </Context.Provider>
  );
}

/** Nodes and edges. A line whose value goes over as it is has no station. Each node has a height ahead of its measured
 * one: without it every change would hide all nodes until they are measured, and what is hidden loses the focus. */
function picture(canvas: Canvas, chosen: Chosen, seen: Shown["seen"]): { nodes: Node[]; edges: Edge[] } {
  const nodes: Node[] = [
    { id: "source", type: "source", position: { x: LEFT.x, y: 0 }, data: {}, width: LEFT.width, initialHeight: HEAD + seen.source.length * ROW },
    { id: "target", type: "target", position: { x: RIGHT.x, y: 0 }, data: {}, width: RIGHT.width, initialHeight: HEAD + seen.target.length * ROW },
  ];
  const edges: Edge[] = [];
  const at = new Map(seen.target.map((row, number) => [row.field.path, number]));
  const from = new Set(seen.source.map((row) => row.field.path));
  for (const line of canvas.lines.filter((one) => at.has(one.path))) {
    const mine = line.path === chosen.target;
    const look = { className: mine ? "chosen" : "", data: { path: line.path }, zIndex: mine ? 1 : 0 };
    const words = stations(line);
    if (words.length === 0) {
      for (const source of line.sources.filter((one) => from.has(one))) {
        edges.push({ ...look, id: `${source}>${line.path}`, source: "source", sourceHandle: source, target: "target", targetHandle: line.path });
      }
      continue;
    }
    const id = `station ${line.path}`;
    const y = HEAD + (at.get(line.path) ?? 0) * ROW;
    nodes.push({ id, type: "station", position: { x: MIDDLE.x, y }, data: { path: line.path, words }, width: MIDDLE.width, initialHeight: ROW });
    edges.push({ ...look, id: `${id}>`, source: id, target: "target", targetHandle: line.path });
    for (const source of line.sources.filter((one) => from.has(one))) {
      edges.push({ ...look, id: `${source}>${id}`, source: "source", sourceHandle: source, target: id });
    }
    const rule = mine && canvas.rules.find((one) => one.name === line.rule);
    for (const source of rule ? rule.reads.filter((one) => from.has(one)) : []) {
      edges.push({ ...look, className: "reads", id: `${source}>>${id}`, source: "source", sourceHandle: source, target: id });
    }
  }
  return { nodes, edges };
}
