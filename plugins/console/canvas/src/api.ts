// The console's API, as the canvas uses it: types of its answers, and calls that fail in words.

export interface Field {
  path: string;
  name: string;
  type: string;
  words: string;
  required: boolean;
  description: string;
  state: "mapped" | "missing" | "not_sent" | "free" | "used";
  of_lines: boolean;
  takes: boolean;
  hint: string;
  children: Field[];
}

export interface Converter {
  name: string;
  argument: string | number | null;
}

export type Scalar = string | number | boolean | null;

export interface Line {
  part: "fields" | "children";
  target: string;
  path: string;
  written: string[];
  sources: string[];
  columns: string[];
  rule: string | null;
  converters: Converter[];
  lookup: string | null;
  missing: string;
  default: Scalar;
  constant: Scalar;
  required: boolean | string | null;
  note: string;
  row: number;
}

export interface Rule {
  name: string;
  words: string;
  reads: string[];
  columns: string[];
  writes: string[];
  place: number;
  besides: boolean;
}

export interface Finding {
  row: number;
  message: string;
  path: string;
}

export interface Canvas {
  name: string;
  flow: string;
  title: string;
  file: string;
  source_system: string;
  source_document: string;
  target_system: string;
  target_document: string;
  source: Field[];
  target: Field[];
  lines: Line[];
  rules: Rule[];
  not_sent: Record<string, string>;
  after: string;
  findings: Finding[];
  text: string;
  changed: boolean;
  version: number;
}

export interface Word {
  name: string;
  words: string;
  takes: string[];
  gives: string;
  argument: string;
  columns: string[];
}

export interface Vocabulary {
  converters: Word[];
  lookups: Word[];
  rules: Word[];
}

export interface Change {
  do: "draw" | "change" | "remove" | "add_rule" | "remove_rule" | "not_sent";
  path?: string;
  source?: string;
  rule?: string;
  reason?: string;
  words?: Record<string, unknown>;
  replace?: boolean;
}

export interface Stored {
  key: string;
  version: string;
  batch: number;
  state: string | null;
}

export interface Share {
  path: string;
  given: number;
  of: number;
}

export type Values = (string | null)[];

export interface Stop {
  kind: "source" | "convert" | "lookup" | "default" | "constant" | "target";
  name: string;
  values: Values;
}

export interface Trace {
  key: string;
  state: string;
  why: string;
  reasons: { field: string; rule: string; says: string; do: string }[];
  source: Record<string, Values>;
  ways: Record<string, Stop[]>;
  rules: { name: string; inputs: Record<string, Values>; outputs: Record<string, Values> }[];
  posted: boolean;
  masked: boolean;
}

export interface Example {
  key: string;
  before: Values;
  after: Values;
  personal: boolean;
}

/** What a draft does to one record. */
export interface Compared {
  key: string;
  before: string;
  after: string;
  fields: Record<string, Example>;
  kept: boolean;
  runs: boolean;
}

export interface Trial {
  records: number;
  changed: number;
  kept: number;
  delivered: number;
  closed: number;
  not_run: number;
  died: number;
  recovered: number;
  moved: number;
  dead: number;
  fields: { path: string; count: number; examples: Example[] }[];
  fates: { key: string; before: string; after: string; reasons: { rule: string; field: string; do: string }[] }[];
  seconds: number;
}

/** A trial that is kept: publishing names its number and, of a large change, `changes`, written by hand. */
export interface Tried {
  trial: Trial;
  number: number;
  changes: number;
  large: boolean;
  why_large: string;
}

export interface Published {
  number: number;
  message: string;
  in_force: boolean;
}

export interface Revision {
  number: number;
  author: string;
  at: string;
  message: string;
  before: string | null;
  after: string | null;
  records: number;
}

export interface Suggestion {
  target: string;
  source: string | null;
  confidence: number;
  why: string[];
  convert: [string, string | number | null][];
  lookup: string | null;
  constant: Scalar;
  rule: string | null;
  children: string;
  complete: boolean;
  table: [string, string][];
}

/** A value that a lookup does not know, and the nearest ones that it does; `cells`: the row that says the same. */
export interface Unknown {
  value: string;
  records: number;
  nearest: { key: string; likeness: number; cells: string[] }[];
}

/** What a row of a lookup would change; `number`: by which its publication says that it was seen. */
export interface Preview {
  number: number;
  changes: number;
  looked: number;
  large: boolean;
  why_large: string;
  problems: { path: string; line: number; text: string }[];
}

export const root = document.documentElement.dataset.root ?? "";
const token = document.querySelector<HTMLMetaElement>('meta[name="csrf"]')?.content ?? "";

async function call<T>(method: string, path: string, body?: unknown, room = "/mappings"): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(`${root}/api${room}${path}`, {
      method,
      headers: { "Content-Type": "application/json", "X-Crossdock-CSRF": token },
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
    });
  } catch {
    throw new Error("The server does not answer. Try again.");
  }
  const text = await answer.text();
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    data = {};
  }
  if (!answer.ok) {
    const { detail, do: advice } = data as { detail?: unknown; do?: string };
    const words = typeof detail === "string" ? detail : `The server answered ${answer.status}.`;
    throw new Error([words, advice].filter(Boolean).join(" "));
  }
  return data as T;
}

const name = (mapping: string) => `/${encodeURIComponent(mapping)}`;

export const api = {
  vocabulary: () => call<Vocabulary>("GET", "/vocabulary"),
  canvas: (mapping: string) => call<Canvas>("GET", name(mapping)),
  draft: (mapping: string, text: string) => call<Canvas>("POST", `${name(mapping)}/draft`, { text }),
  change: (mapping: string, text: string, change: Change) =>
    call<Canvas>("POST", `${name(mapping)}/change`, { text, change }),
  records: (mapping: string, after: string) =>
    call<Stored[]>("GET", `${name(mapping)}/records?after=${encodeURIComponent(after)}`),
  shares: (mapping: string) => call<Share[]>("GET", `${name(mapping)}/shares`),
  trace: (mapping: string, key: string, text: string | null) =>
    text === null
      ? call<Trace>("GET", `${name(mapping)}/trace?key=${encodeURIComponent(key)}`)
      : call<Trace>("POST", `${name(mapping)}/trace`, { key, text }),
  compare: (mapping: string, text: string, keys: string[]) =>
    call<Compared[]>("POST", `${name(mapping)}/compare`, { text, keys }),
  trial: (mapping: string, text: string) => call<Tried>("POST", `${name(mapping)}/trial`, { text }),
  publish: (mapping: string, text: string, message: string, parent: number, preview: number, confirm: string) =>
    call<Published>("POST", `${name(mapping)}/publish`, { text, message, parent, preview, confirm }),
  suggestions: (mapping: string, target: string, children: string) =>
    call<{ records: number; suggestions: Suggestion[] }>(
      "GET",
      `${name(mapping)}/suggestions?although_mapped=true&target=${encodeURIComponent(target)}&children=${encodeURIComponent(children)}`,
    ),
  unknown: (lookup: string) =>
    call<{ columns: string[]; missing: Unknown[] }>("GET", `/lookups/${encodeURIComponent(lookup)}/missing`),
  previewRow: (lookup: string, cells: string[]) =>
    call<Preview>("POST", "/effects", { path: `lookups/${lookup}.csv`, rows: [{ line: 0, cells }] }, "/rules"),
  publishRow: (lookup: string, cells: string[], message: string, preview: number) =>
    call<Published>(
      "POST",
      "/publish",
      { path: `lookups/${lookup}.csv`, rows: [{ line: 0, cells }], message, preview, replay: [cells[0]] },
      "/rules",
    ),
  history: (mapping: string, path: string) =>
    call<Revision[]>("GET", `${name(mapping)}/history?path=${encodeURIComponent(path)}`),
};
