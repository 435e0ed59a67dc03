// The canvas of one mapping: its draft with undo, a record on its way, a trial on the last records, publishing.

import { useCallback, useEffect, useMemo, useRef, useState } from "react";

import { api, type Canvas, type Change, type Share, type Stored, type Trace, type Trial, type Vocabulary } from "./api";
import { type Chosen, Flow } from "./Flow";
import { joined } from "./fields";
import { Panel } from "./Panel";

interface Props {
  name: string;
  mayPublish: boolean;
}

const NOTHING: Vocabulary = { converters: [], lookups: [], rules: [] };

function stored(key: string, value?: string | null): string | null {
  try {
    if (value === undefined) return sessionStorage.getItem(key);
    if (value === null) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, value);
  } catch {
    // storage is switched off
  }
  return null;
}

function useDark(): boolean {
  const read = () => document.documentElement.dataset.theme === "dark";
  const [dark, setDark] = useState(read);
  useEffect(() => {
    const watch = new MutationObserver(() => setDark(read()));
    watch.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    return () => watch.disconnect();
  }, []);
  return dark;
}

export function App({ name, mayPublish }: Props) {
  const draftKey = `crossdock mapping ${name}`;
  const [canvas, setCanvas] = useState<Canvas | null>(null);
  const [parent, setParent] = useState(0); // the version that the draft was made from
  const [past, setPast] = useState<string[]>([]);
  const [future, setFuture] = useState<string[]>([]);
  const [words, setWords] = useState(NOTHING);
  const [shares, setShares] = useState<Map<string, Share>>(new Map());
  const [records, setRecords] = useState<Stored[]>([]);
  const [more, setMore] = useState(true);
  const [picked, setPicked] = useState("");
  const [trace, setTrace] = useState<Trace | null>(null);
  const [trial, setTrial] = useState<Trial | null>(null);
  const [chosen, setChosen] = useState<Chosen>({ source: "", target: "" });
  const [panel, setPanel] = useState(false);
  const [asText, setAsText] = useState(false);
  const [said, setSaid] = useState<{ words: string; bad: boolean }>({ words: "", bad: false });
  const [busy, setBusy] = useState("");
  const [message, setMessage] = useState("");
  const dark = useDark();
  const asked = useRef(0);

  const say = (text: string) => setSaid({ words: text, bad: false });
  const fail = (error: unknown) => setSaid({ words: error instanceof Error ? error.message : String(error), bad: true });

  useEffect(() => {
    const kept = stored(draftKey);
    const fresh = () => api.canvas(name).then((found) => begin(found, found.version));
    const draft: { text: string; parent: number } | null = kept && mayPublish ? JSON.parse(kept) : null;
    if (draft) api.draft(name, draft.text).then((found) => begin(found, draft.parent), fresh);
    else fresh().catch(fail);
    api.vocabulary().then(setWords, fail);
    api.shares(name).then((found) => setShares(new Map(found.map((one) => [one.path, one]))), fail);
    next("", setRecords);
  }, [name]);

  const next = (after: string, take: (found: Stored[]) => void) =>
    api.records(name, after).then((found) => {
      take(found);
      setMore(found.length === 20);
      if (!after && found.length) setPicked(found[0].key);
    }, fail);

  const begin = (found: Canvas, made: number) => {
    setCanvas(found);
    setParent(made);
  };

  const text = canvas?.text ?? "";
  const sound = canvas !== null && canvas.findings.length === 0;
  useEffect(() => {
    if (!picked || !sound) return;
    const number = ++asked.current;
    api.trace(name, picked, canvas?.changed ? text : null).then(
      (found) => number === asked.current && setTrace(found),
      (error) => number === asked.current && fail(error),
    );
  }, [name, picked, text, sound]);

  /** Another draft takes the place of this one, which can be taken back. */
  const follow = (made: Canvas, before: string[], after: string[]) => {
    setCanvas(made);
    setPast(before);
    setFuture(after);
    setTrial(null);
    stored(draftKey, made.changed ? JSON.stringify({ text: made.text, parent }) : null);
  };

  const work = useCallback(async (what: string, job: () => Promise<void>) => {
    setBusy(what);
    setSaid({ words: "", bad: false });
    try {
      await job();
    } catch (error) {
      fail(error);
    } finally {
      setBusy("");
    }
  }, []);

  const change = (wanted: Change) =>
    work("change", async () => {
      const made = await api.change(name, text, wanted);
      if (made.text === text) {
        say("It says so already.");
        return;
      }
      follow(made, [...past, text], []);
      say(made.findings.length ? `Changed. ${made.findings.length} to mend.` : "Changed.");
    });

  const undo = () =>
    work("undo", async () => {
      const before = past.at(-1);
      if (before === undefined) return;
      follow(await api.draft(name, before), past.slice(0, -1), [text, ...future]);
      say("Taken back.");
    });

  const redo = () =>
    work("redo", async () => {
      const [after, ...rest] = future;
      if (after === undefined) return;
      follow(await api.draft(name, after), [...past, text], rest);
      say("Done again.");
    });

  const discard = () =>
    work("discard", async () => {
      const found = await api.canvas(name);
      follow(found, [...past, text], []);
      setParent(found.version);
      say("As it is in force.");
    });

  const draw = (source: string, target: string) => {
    setChosen({ source: "", target });
    setPanel(true);
    change({ do: "draw", path: target, source });
  };

  const chooseTarget = (path: string, mayDraw: boolean) => {
    if (mayDraw && chosen.source && mayPublish) draw(chosen.source, path);
    else {
      setChosen({ ...chosen, target: path });
      setPanel(true);
    }
  };

  const tryIt = () =>
    work("trial", async () => {
      setTrial(await api.trial(name, text));
    });

  const publish = () =>
    work("publish", async () => {
      const done = await api.publish(name, text, message, parent);
      setMessage("");
      if (done.in_force) {
        stored(draftKey, null);
        const found = await api.canvas(name);
        begin(found, found.version);
        setPast([]);
        setFuture([]);
      }
      say(done.message);
    });

  const wrong = useMemo(() => new Set((canvas?.findings ?? []).map((one) => one.path).filter(Boolean)), [canvas]);

  useEffect(() => {
    const key = (event: KeyboardEvent) => {
      const typing = (event.target as HTMLElement).closest("input, textarea, select");
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z" && !typing) {
        event.preventDefault();
        if (event.shiftKey) redo();
        else undo();
      }
      if (event.key === "Escape" && !typing) {
        setChosen({ source: "", target: "" });
        setPanel(false);
      }
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  });

  if (!canvas) return <p className={said.bad ? "bad" : "quiet"}>{said.words || "Loading …"}</p>;
  return (
    <div className="canvas-page" aria-busy={busy !== ""}>
      <div className="tools" role="toolbar" aria-label="Draft">
        <button type="button" onClick={undo} disabled={!past.length || busy !== ""}>
          Undo
        </button>
        <button type="button" onClick={redo} disabled={!future.length || busy !== ""}>
          Redo
        </button>
        <button type="button" onClick={discard} disabled={!canvas.changed || busy !== ""}>
          Discard the draft
        </button>
        <button type="button" aria-pressed={asText} onClick={() => setAsText(!asText)}>
          Text
        </button>
        {mayPublish && (
          <button type="button" onClick={tryIt} disabled={!sound || busy !== ""}>
            {busy === "trial" ? "Trying …" : "Try on the last 500"}
          </button>
        )}
        {mayPublish && (
          <form
            onSubmit={(event) => {
              event.preventDefault();
              publish();
            }}
          >
            <label className="hidden" htmlFor="publish-message">
              What changes, and why
            </label>
            <input
              id="publish-message"
              placeholder="What changes, and why"
              value={message}
              onChange={(event) => setMessage(event.target.value)}
            />
            <button type="submit" className="main" disabled={!canvas.changed || !sound || !message.trim() || busy !== ""}>
              {busy === "publish" ? "Publishing …" : "Publish"}
            </button>
          </form>
        )}
        <span className="draft">{canvas.changed ? "Draft, not in force" : "In force"}</span>
      </div>
      <p role="status" className={`said${said.bad ? " bad" : ""}`}>
        {said.words || hint(chosen, mayPublish)}
      </p>
      {canvas.findings.length > 0 && (
        <ul className="findings" aria-label="What is wrong with the draft">
          {canvas.findings.map((one) => (
            <li key={one.row + one.message}>
              Line {one.row}: {one.message}.
            </li>
          ))}
        </ul>
      )}
      {trial && <Result trial={trial} close={() => setTrial(null)} />}
      <div className={`stage${panel ? " with-panel" : ""}`}>
        {asText ? (
          <Text
            key={text}
            text={text}
            mayChange={mayPublish}
            take={(written) =>
              work("text", async () => follow(await api.draft(name, written), [...past, text], []))
            }
          />
        ) : (
          <div className="picture">
            <Flow
              {...{ canvas, trace, shares, chosen, wrong, dark }}
              chooseSource={(path) => setChosen({ ...chosen, source: chosen.source === path ? "" : path })}
              chooseTarget={chooseTarget}
              drawn={(source, target) => (mayPublish ? draw(source, target) : fail(new Error("An analyst may change mappings.")))}
            />
          </div>
        )}
        {panel && chosen.target && (
          <Panel
            {...{ canvas, trace, words, change }}
            path={chosen.target}
            mayChange={mayPublish}
            close={() => setPanel(false)}
          />
        )}
      </div>
      <section className="strip" aria-label="Records">
        <h2>Records</h2>
        {records.length === 0 && <p className="quiet">No record yet: it stands here once the flow {canvas.flow} has read one.</p>}
        <ul>
          {records.map((one) => (
            <li key={one.key}>
              <button type="button" aria-pressed={picked === one.key} onClick={() => setPicked(one.key)}>
                {one.key} <span className={`state ${one.state ?? ""}`}>{(one.state ?? "").replace("_", " ")}</span>
              </button>
            </li>
          ))}
          {more && records.length > 0 && (
            <li>
              <button
                type="button"
                onClick={() => {
                  const last = records[records.length - 1];
                  next(`${last.batch}:${last.key}`, (found) => setRecords([...records, ...found]));
                }}
              >
                more
              </button>
            </li>
          )}
        </ul>
        {trace && <Fate trace={trace} />}
      </section>
    </div>
  );
}

function hint(chosen: Chosen, mayChange: boolean): string {
  if (!mayChange) return "Choose a target field to see where it comes from.";
  if (chosen.source) return `${chosen.source} is chosen. Now choose the target field, or press Escape.`;
  return "Drag from a source field to a target field, or choose one after the other. A target field opens its line.";
}

const STATES: Record<string, string> = {
  ready: "would be sent",
  waiting: "would wait",
  left_out: "would be left out",
  dead: "would be refused",
};

function Fate({ trace }: { trace: Trace }) {
  return (
    <div className="fate">
      <p>
        {trace.key} <b className={`state ${trace.state}`}>{STATES[trace.state] ?? trace.state}</b>
        {trace.why && ` (${trace.why})`}. {trace.posted && "It was delivered and stays as it is, so the mapping does not run for it. "}
        {trace.masked && "Personal data are shown to clerks only."}
      </p>
      {trace.reasons.map((one, number) => (
        <p key={number} className="bad">
          {one.says} {one.do}
        </p>
      ))}
    </div>
  );
}

function Result({ trial, close }: { trial: Trial; close: () => void }) {
  return (
    <section className="trial" aria-label="What would change">
      <header>
        <h2>On the last {trial.records.toLocaleString("en-GB")} records</h2>
        <button type="button" onClick={close} aria-label="Close the result">
          ×
        </button>
      </header>
      <p>
        <b>{trial.changed}</b> documents would change, <b className={trial.died ? "bad" : ""}>{trial.died}</b> would become dead
        letters, <b className={trial.recovered ? "good" : ""}>{trial.recovered}</b> would recover
        {trial.moved > 0 && `, ${trial.moved} would wait or be left out, or no longer`}. With the draft {trial.dead} of them are dead
        letters.
        {trial.kept > 0 && ` ${trial.kept} of those that would change are delivered and stay as they are.`}
        {trial.not_run > 0 && ` ${trial.not_run} are delivered and are not mapped again.`} Nothing was written ({trial.seconds} s).
      </p>
      {trial.fields.length > 0 && (
        <table className="list">
          <thead>
            <tr>
              <th scope="col">Field</th>
              <th scope="col" className="number">
                Documents
              </th>
              <th scope="col">For example</th>
            </tr>
          </thead>
          <tbody>
            {trial.fields.map((one) => (
              <tr key={one.path}>
                <td>{one.path}</td>
                <td className="number">{one.count}</td>
                <td>
                  {one.examples.map((example) => (
                    <div key={example.key}>
                      {example.key}: {joined(example.before) || "–"} → {joined(example.after) || "–"}
                    </div>
                  ))}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {trial.fates.length > 0 && (
        <ul>
          {trial.fates.map((one) => (
            <li key={one.key}>
              {one.key}: {one.before.replace("_", " ")} → <b>{one.after.replace("_", " ")}</b>
              {one.reasons.map((reason) => ` ${reason.rule.replaceAll("_", " ")} (${reason.field})`).join(",")}
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function Text({ text, mayChange, take }: { text: string; mayChange: boolean; take: (text: string) => void }) {
  const [written, setWritten] = useState(text);
  return (
    <form
      className="text"
      onSubmit={(event) => {
        event.preventDefault();
        take(written);
      }}
    >
      <label className="hidden" htmlFor="yaml">
        The file's text
      </label>
      <textarea id="yaml" spellCheck={false} readOnly={!mayChange} value={written} onChange={(event) => setWritten(event.target.value)} />
      {mayChange && (
        <button type="submit" disabled={written === text}>
          Take this text
        </button>
      )}
    </form>
  );
}
