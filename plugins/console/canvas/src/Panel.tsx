// What a line says, to be changed: where its value comes from, converters, lookup, default, constant, and its past.

import { useEffect, useId, useRef, useState } from "react";

import {
  api,
  root,
  type Canvas,
  type Change,
  type Converter,
  type Line,
  type Revision,
  type Suggestion,
  type Trace,
  type Unknown,
  type Vocabulary,
} from "./api";
import type { Question } from "./Ask";
import { fieldAt, joined, rows, shown, written } from "./fields";

interface Props {
  canvas: Canvas;
  path: string;
  trace: Trace | null;
  words: Vocabulary;
  mayChange: boolean;
  change: (change: Change) => void;
  ask: (question: Question) => void;
  say: (words: string) => void;
  fail: (error: unknown) => void;
  edited: (save: (() => void) | null) => void; // what the form says and the draft does not yet
  close: () => void;
}

const KINDS = { source: "from", convert: "converter", lookup: "lookup", default: "default", constant: "always", target: "target" };

export function Panel({ canvas, path, trace, words, mayChange, change, ask, say, fail, edited, close }: Props) {
  const field = fieldAt(canvas.target, path);
  const line = canvas.lines.find((one) => one.path === path);
  const findings = canvas.findings.filter((one) => one.path === path);
  if (!field) return null;
  const rule = canvas.rules.find((one) => one.name === line?.rule);
  const seen = trace?.rules.find((one) => one.name === line?.rule);
  return (
    <aside className="panel" aria-label={`Line to ${path}`}>
      <header>
        <h2>{path}</h2>
        <button type="button" onClick={close} aria-label="Close the panel">
          ×
        </button>
      </header>
      <p className="quiet">
        {field.words}
        {field.required && ", required"}. {field.description}
      </p>
      {findings.map((one) => (
        <p className="bad" key={one.row + one.message}>
          {one.message}.
        </p>
      ))}
      {!line && field.hint && <p className="bad">{`${field.name} ${field.hint}.`}</p>}
      {canvas.not_sent[path] && <p className="quiet">Not sent: {canvas.not_sent[path]}</p>}
      {trace?.ways[path] && (
        <ol className="way" aria-label="The value on its way">
          {trace.ways[path].map((stop, number) => (
            <li key={number}>
              <span>
                {KINDS[stop.kind]} {stop.kind === "target" ? "" : stop.name}
              </span>
              <b>{joined(stop.values)}</b>
            </li>
          ))}
        </ol>
      )}
      {line?.lookup && (
        <UnknownValues key={line.lookup} lookup={line.lookup.split(".")[0]} {...{ mayChange, ask, say, fail }} />
      )}
      {line ? (
        <Editor key={JSON.stringify(line)} {...{ canvas, line, words, mayChange, change, edited }} />
      ) : (
        <Missing {...{ canvas, path, words, mayChange, change }} />
      )}
      {line && <OtherWays key={`other ${path}`} {...{ canvas, path, line, mayChange, change }} />}
      {rule && (
        <details>
          <summary>Rule {rule.name}</summary>
          <p>{rule.words}</p>
          {seen && <Columns title="It read" values={seen.inputs} />}
          {seen && <Columns title="It wrote" values={seen.outputs} />}
        </details>
      )}
      <History key={path} name={canvas.name} path={path} />
    </aside>
  );
}

function Columns({ title, values }: { title: string; values: Record<string, (string | null)[]> }) {
  return (
    <>
      <h3>{title}</h3>
      <dl>
        {Object.entries(values).map(([name, some]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{joined(some)}</dd>
          </div>
        ))}
      </dl>
    </>
  );
}

interface Own {
  canvas: Canvas;
  words: Vocabulary;
  mayChange: boolean;
  change: (change: Change) => void;
}

/** Source paths that a line of this part may begin at. */
function beginnings(canvas: Canvas, part: string): { path: string; from: string }[] {
  return rows(canvas.source)
    .filter((row) => row.field.takes && (part === "children" || !row.field.of_lines))
    .map(({ field }) => ({
      path: field.path,
      from: part === "fields" ? field.path : field.of_lines ? field.path.slice(field.path.indexOf(".") + 1) : `head.${field.path}`,
    }));
}

function Editor({ canvas, line, words, mayChange, change, edited }: Own & Pick<Props, "edited"> & { line: Line }) {
  const [from, setFrom] = useState(line.written.join(", "));
  const [rule, setRule] = useState(line.rule ?? "");
  const [steps, setSteps] = useState<Converter[]>(line.converters);
  const [lookup, setLookup] = useState(line.lookup ?? "");
  const [missing, setMissing] = useState(line.missing);
  const [byDefault, setDefault] = useState(written(line.default));
  const [constant, setConstant] = useState(written(line.constant));
  const [required, setRequired] = useState(line.required === null ? "" : written(line.required));
  const [note, setNote] = useState(line.note);
  const kind = fieldAt(canvas.target, line.path)?.type ?? "text";
  const id = useId();
  const always = constant !== "";
  const sources = from.split(",").map((one) => one.trim()).filter(Boolean);
  const wanted = {
    constant: scalar(constant, line.constant, kind),
    rule: always ? null : rule || null,
    from: always || sources.length === 0 ? null : sources,
    convert: always || steps.length === 0 ? null : steps,
    lookup: always ? null : lookup || null,
    missing: !always && lookup && missing === "default" ? "default" : null,
    default: always ? null : scalar(byDefault, line.default, kind),
    required: { yes: true, no: false, later: "later" }[required] ?? null,
    note: note || null,
  };
  const now = JSON.stringify(wanted);
  const before = useRef(now);
  const save = () => change({ do: "change", path: line.path, words: wanted });
  const dirty = now !== before.current;
  useEffect(() => {
    edited(dirty ? save : null);
  }, [now, canvas.text]);
  useEffect(() => () => edited(null), []);
  const set = (at: number, step: Converter) => setSteps(steps.map((one, number) => (number === at ? step : one)));
  return (
    <form
      className="editor"
      onSubmit={(event) => {
        event.preventDefault();
        save();
      }}
    >
      <fieldset disabled={!mayChange}>
        <label htmlFor={`${id}from`}>From (first given value counts)</label>
        <input id={`${id}from`} list={`${id}paths`} value={from} disabled={always} onChange={(event) => setFrom(event.target.value)} />
        <datalist id={`${id}paths`}>
          {beginnings(canvas, line.part).map((one) => (
            <option key={one.path} value={one.from} />
          ))}
        </datalist>
        <label htmlFor={`${id}rule`}>Rule</label>
        <select id={`${id}rule`} value={rule} disabled={always} onChange={(event) => setRule(event.target.value)}>
          <option value="">none</option>
          {words.rules.map((one) => (
            <option key={one.name}>{one.name}</option>
          ))}
        </select>
        <div role="group" aria-label="Converters">
          {steps.map((step, at) => {
            const word = words.converters.find((one) => one.name === step.name);
            return (
              <div className="step" key={at}>
                <select
                  aria-label={`Converter ${at + 1}`}
                  value={step.name}
                  onChange={(event) => set(at, { name: event.target.value, argument: null })}
                >
                  {words.converters.map((one) => (
                    <option key={one.name}>{one.name}</option>
                  ))}
                </select>
                {word?.argument && (
                  <input
                    aria-label={word.argument}
                    placeholder={word.argument}
                    value={step.argument ?? ""}
                    onChange={(event) => set(at, { ...step, argument: number(event.target.value) })}
                  />
                )}
                <button type="button" aria-label={`Remove converter ${step.name}`} onClick={() => setSteps(steps.filter((_, one) => one !== at))}>
                  ×
                </button>
                {word && <small>{word.words}</small>}
              </div>
            );
          })}
          <button type="button" disabled={always} onClick={() => setSteps([...steps, { name: words.converters[0].name, argument: null }])}>
            Add a converter
          </button>
        </div>
        <label htmlFor={`${id}lookup`}>Lookup</label>
        <select id={`${id}lookup`} value={lookup} disabled={always} onChange={(event) => setLookup(event.target.value)}>
          <option value="">none</option>
          {words.lookups.flatMap((one) => [
            <option key={one.name}>{one.name}</option>,
            ...one.columns.slice(2).map((column) => <option key={`${one.name}.${column}`}>{`${one.name}.${column}`}</option>),
          ])}
        </select>
        {lookup && (
          <>
            <label htmlFor={`${id}missing`}>A code that the lookup does not have</label>
            <select id={`${id}missing`} value={missing} onChange={(event) => setMissing(event.target.value)}>
              <option value="problem">stops its record</option>
              <option value="default">gets the default</option>
            </select>
          </>
        )}
        <label htmlFor={`${id}default`}>Default, where nothing is given</label>
        <input id={`${id}default`} value={byDefault} disabled={always} onChange={(event) => setDefault(event.target.value)} />
        <label htmlFor={`${id}constant`}>Always this value</label>
        <input id={`${id}constant`} value={constant} onChange={(event) => setConstant(event.target.value)} />
        <label htmlFor={`${id}required`}>Must be given</label>
        <select id={`${id}required`} value={required} onChange={(event) => setRequired(event.target.value)}>
          <option value="">as the contract says</option>
          <option>yes</option>
          <option>no</option>
          <option>later</option>
        </select>
        <label htmlFor={`${id}note`}>Note</label>
        <textarea id={`${id}note`} rows={2} value={note} onChange={(event) => setNote(event.target.value)} />
        {mayChange && (
          <div className="buttons">
            <button type="submit" className="main">
              Apply
            </button>
            {dirty && <span className="warn">not applied yet</span>}
            <button type="button" onClick={() => change({ do: "remove", path: line.path })}>
              Remove the line
            </button>
          </div>
        )}
      </fieldset>
    </form>
  );
}

function number(text: string): string | number {
  return /^[1-9][0-9]{0,5}$/.test(text) ? Number(text) : text;
}

/** What somebody wrote as the value that the field takes. What was not touched keeps its type. */
function scalar(text: string, before: string | number | boolean | null, kind: string): string | number | boolean | null {
  if (text === "") return null;
  if (before !== null && written(before) === text) return before;
  if (kind === "boolean" && /^(yes|no|true|false)$/.test(text)) return text === "yes" || text === "true";
  if (kind === "integer" && /^-?[0-9]{1,15}$/.test(text)) return Number(text);
  return text;
}

function Missing({ canvas, path, words, mayChange, change }: Own & { path: string }) {
  const [rule, setRule] = useState("");
  const [column, setColumn] = useState("");
  const [reason, setReason] = useState("");
  const id = useId();
  const writers = canvas.rules.length ? words.rules.filter((one) => canvas.rules.some((own) => own.name === one.name)) : words.rules;
  const columns = words.rules.find((one) => one.name === rule)?.columns ?? [];
  if (!mayChange) return <p>Nothing maps it.</p>;
  return (
    <div className="editor">
      <p>Nothing maps it. Draw a line to it from the source, or take a column of a rule.</p>
      <Suggestions {...{ canvas, path, mayChange, change }} />
      <label htmlFor={`${id}rule`}>Rule</label>
      <select id={`${id}rule`} value={rule} onChange={(event) => setRule(event.target.value)}>
        <option value="">choose</option>
        {writers.map((one) => (
          <option key={one.name}>{one.name}</option>
        ))}
      </select>
      <label htmlFor={`${id}column`}>Its column</label>
      <select id={`${id}column`} value={column} onChange={(event) => setColumn(event.target.value)}>
        <option value="">of the field's name</option>
        {columns.map((one) => (
          <option key={one}>{one}</option>
        ))}
      </select>
      <div className="buttons">
        <button type="button" disabled={!rule} onClick={() => change({ do: "draw", path, source: column, rule })}>
          Take it
        </button>
      </div>
      <label htmlFor={`${id}reason`}>Or say why it is not sent</label>
      <input id={`${id}reason`} value={reason} onChange={(event) => setReason(event.target.value)} />
      <div className="buttons">
        <button type="button" disabled={!reason} onClick={() => change({ do: "not_sent", path, reason })}>
          Leave it out
        </button>
      </div>
    </div>
  );
}

/** The suggestions for a line that stands: they are looked for when somebody opens them, and replace nothing unasked. */
function OtherWays({ canvas, path, line, mayChange, change }: Omit<Own, "words"> & { path: string; line: Line }) {
  const [open, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>What it may come from instead</summary>
      {open && <Suggestions {...{ canvas, path, line, mayChange, change }} />}
    </details>
  );
}

/** Where the field may come from; a person takes one over or leaves it. */
function Suggestions({ canvas, path, line, mayChange, change }: Omit<Own, "words"> & { path: string; line?: Line }) {
  const [found, setFound] = useState<Suggestion[] | string | null>(null);
  const field = fieldAt(canvas.target, path);
  const [list, ...rest] = path.split(".");
  const children = field?.of_lines ? list : "";
  const target = children ? rest.join(".") : path;
  useEffect(() => {
    api.suggestions(canvas.name, target, children).then(
      (answer) => setFound(answer.suggestions),
      (error: Error) => setFound(error.message),
    );
  }, [canvas.name, target, children]);
  if (typeof found === "string") return <p className="bad">{found}</p>;
  if (!found) return <p className="quiet">Looking for what it may come from …</p>;
  if (!found.length) return <p className="quiet">Neither names nor records tell of a field that it may come from.</p>;
  return (
    <>
      {!line && <h3>Suggestions</h3>}
      <ul className="suggestions">
        {found.slice(0, 5).map((one) => (
          <li key={`${one.source}${one.rule}${one.constant}`}>
            {line && says(canvas, path, line, one) ? (
              <b>{origin(one)}: as the line says</b>
            ) : mayChange ? (
              <button type="button" onClick={() => change(taken(canvas, path, one))}>
                {line ? "Use" : "Take"} {origin(one)} {line && "instead"}
              </button>
            ) : (
              <b>{origin(one)}</b>
            )}{" "}
            <b>{Math.round(100 * one.confidence)} %</b>
            <small>{[...one.convert.map(([name, argument]) => (argument === null ? name : `${name} ${argument}`)), one.lookup && `lookup ${one.lookup}`].filter(Boolean).join(", ")}</small>
            {one.table.length > 0 && (
              <p>A lookup is to be written: {one.table.slice(0, 5).map((pair) => pair.join(" → ")).join(", ")}.</p>
            )}
            <p className="quiet">{one.why.join(". ")}</p>
          </li>
        ))}
      </ul>
    </>
  );
}

function origin(one: Suggestion): string {
  if (one.rule) return `rule ${one.rule}`;
  return one.source ?? `always ${written(one.constant)}`;
}

/** Whether a line says already what is suggested. */
function says(canvas: Canvas, path: string, line: Line, one: Suggestion): boolean {
  const wanted = taken(canvas, path, one);
  if (one.rule) return line.rule === one.rule;
  if (one.source === null) return written(line.constant) === written(one.constant);
  return !line.rule && line.sources[0] === wanted.source && line.lookup === one.lookup && line.converters.length === one.convert.length;
}

/** A suggestion as a line that is drawn. */
function taken(canvas: Canvas, path: string, one: Suggestion): Change {
  if (one.rule) return { do: "draw", path, rule: one.rule, source: one.source ?? "" };
  if (one.source === null) return { do: "draw", path, words: { constant: one.constant } };
  const source = one.source;
  const list = canvas.source.find((field) => field.children.some((child) => child.of_lines))?.path;
  const head = source.startsWith("head.");
  const whole = one.children && !head && list ? `${list}.${source}` : source.replace(/^head\./, "");
  return {
    do: "draw",
    path,
    source: whole,
    words: {
      ...(one.convert.length ? { convert: one.convert.map(([name, argument]) => ({ name, argument })) } : {}),
      ...(one.lookup ? { lookup: one.lookup } : {}),
    },
  };
}

interface Entries {
  lookup: string;
  mayChange: boolean;
  ask: (question: Question) => void;
  say: (words: string) => void;
  fail: (error: unknown) => void;
}

/** Values of records that a lookup does not know; each can be made to mean what a known one means. */
function UnknownValues({ lookup, mayChange, ask, say, fail }: Entries) {
  const [found, setFound] = useState<Unknown[] | null>(null);
  const read = () => api.unknown(lookup).then((answer) => setFound(answer.missing), fail);
  useEffect(() => {
    read();
  }, [lookup]);
  if (!found?.length) return null;
  const add = async (one: Unknown, near: Unknown["nearest"][number]) => {
    try {
      const seen = await api.previewRow(lookup, near.cells);
      if (seen.large || !seen.number) {
        const why = seen.problems.map((problem) => problem.text).join(". ") || seen.why_large;
        throw new Error(`${why}. Open the lookup to publish this row.`);
      }
      ask({
        title: `${one.value} in the lookup ${lookup}`,
        rows: [
          ["New row", near.cells.join(", "), [`It says of ${one.value} what the lookup says of ${near.key}.`]],
          ["What would change", `${seen.changes} of ${seen.looked} that were compared`, []],
        ],
        yes: "Publish the row",
        no: "Leave it",
        accept: () =>
          api.publishRow(lookup, near.cells, `${one.value} is the same as ${near.key}`, seen.number).then((done) => {
            say(done.message);
            read();
          }, fail),
      });
    } catch (error) {
      fail(error);
    }
  };
  return (
    <section aria-label={`Values that ${lookup} does not know`}>
      <h3>Values that the lookup {lookup} does not know</h3>
      <ul className="suggestions">
        {found.slice(0, 10).map((one) => (
          <li key={one.value}>
            <b>
              <bdi>{shown(one.value)}</bdi>
            </b>{" "}
            <small>
              in {one.records} {one.records === 1 ? "record" : "records"}
            </small>
            {mayChange &&
              one.nearest.map((near) => (
                <button type="button" key={near.key} onClick={() => add(one, near)}>
                  Same as {near.key}
                </button>
              ))}
            {!one.nearest.length && <p className="quiet">None that it knows is like it.</p>}
          </li>
        ))}
      </ul>
      <a href={`${root}/rules/file?path=${encodeURIComponent(`lookups/${lookup}.csv`)}`}>Open the lookup</a>
    </section>
  );
}

function History({ name, path }: { name: string; path: string }) {
  const [found, setFound] = useState<Revision[] | string | null>(null);
  const [open, setOpen] = useState(false);
  useEffect(() => {
    if (!open) return;
    api.history(name, path).then(setFound, (error: Error) => setFound(error.message));
  }, [name, path, open]);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Who changed it</summary>
      {typeof found === "string" && <p className="bad">{found}</p>}
      {Array.isArray(found) && found.length === 0 && <p className="quiet">Nobody: it is as it ships.</p>}
      {Array.isArray(found) && (
        <ol className="past">
          {found.map((one) => (
            <li key={one.number}>
              <b>{one.author}</b>, <time dateTime={one.at} title={`${one.at} UTC`}>{new Date(one.at).toLocaleString()}</time>: {one.message}
              <br />
              <span className="quiet">
                version {one.number}, {one.records} records
              </span>
              <pre>{`- ${one.before ?? "nothing"}\n+ ${one.after ?? "nothing"}`}</pre>
            </li>
          ))}
        </ol>
      )}
    </details>
  );
}
