// The canvas of one mapping: its draft with undo, a record on its way, a trial on the last records, publishing.

import { type ReactNode, useCallback, useEffect, useMemo, useRef, useState } from "react";

import {
  api,
  type Canvas,
  type Change,
  type Compared,
  type Example,
  type Share,
  type Stored,
  type Trace,
  type Trial,
  type Tried,
  type Vocabulary,
} from "./api";
import { Ask, type Question } from "./Ask";
import { Find } from "./Find";
import { type Chosen, Flow } from "./Flow";
import { Lines } from "./Lines";
import { found as matching, joined, lineTo, rows, sentence } from "./fields";
import { Panel } from "./Panel";

interface Props {
  name: string;
  mayPublish: boolean;
}

const MOST_UNDONE = 40; // drafts that are kept to go back to
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

/** Whether there is no room for the picture. */
function useNarrow(): boolean {
  const query = useMemo(() => matchMedia("(max-width: 640px)"), []);
  const [narrow, setNarrow] = useState(query.matches);
  useEffect(() => {
    const watch = () => setNarrow(query.matches);
    query.addEventListener("change", watch);
    return () => query.removeEventListener("change", watch);
  }, [query]);
  return narrow;
}

/** What outlives a reload: the draft, the version that it was made from, and the drafts before and after it. */
interface Kept {
  text: string;
  parent: number;
  past?: string[];
  future?: string[];
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
  const [tried, setTried] = useState<Tried | null>(null);
  const [chosen, setChosen] = useState<Chosen>({ source: "", target: "" });
  const [panel, setPanel] = useState(false);
  const [asText, setAsText] = useState(false);
  const [said, setSaid] = useState<{ words: string; bad: boolean }>({ words: "", bad: false });
  const [busy, setBusy] = useState("");
  const [message, setMessage] = useState("");
  const dark = useDark();
  const narrow = useNarrow();
  const [question, setQuestion] = useState<Question | null>(null);
  const [compared, setCompared] = useState<Map<string, Compared>>(new Map());
  const [search, setSearch] = useState({ source: "", target: "" });
  const [seenText, setSeenText] = useState(""); // the draft whose trial the person has seen
  const [confirm, setConfirm] = useState(""); // of a large change: how many records would change, written by hand
  const [unsaved, setUnsaved] = useState<(() => void) | null>(null); // applies what the panel's form says
  const asked = useRef(0);
  const comparing = useRef(0);

  const say = (text: string) => setSaid({ words: text, bad: false });
  const fail = (error: unknown) => setSaid({ words: error instanceof Error ? error.message : String(error), bad: true });

  useEffect(() => {
    const kept = stored(draftKey);
    const fresh = () => api.canvas(name).then((found) => begin(found, found.version));
    const draft: Kept | null = kept && mayPublish ? JSON.parse(kept) : null;
    const again = ({ text, parent, past = [], future = [] }: Kept) =>
      api.draft(name, text).then((found) => {
        begin(found, parent);
        setPast(past);
        setFuture(future);
      });
    (draft ? again(draft).catch(fresh) : fresh()).catch(fail);
    api.vocabulary().then(setWords, fail);
    api.shares(name).then((found) => setShares(new Map(found.map((one) => [one.path, one]))), fail);
    next("", setRecords);
  }, [name]);

  const next = (after: string, take: (found: Stored[]) => void) =>
    api.records(name, after).then((found) => {
      take(found);
      setMore(found.length === 20);
      const delivered = found.find((one) => one.state === "delivered" || one.state === "unchanged");
      if (!after && found.length) setPicked((delivered ?? found[0]).key);
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

  const drafted = canvas !== null && canvas.changed && sound && mayPublish;
  useEffect(() => {
    const number = ++comparing.current;
    if (!drafted || !records.length) {
      setCompared(new Map());
      return;
    }
    api.compare(name, text, records.map((one) => one.key)).then(
      (found) => number === comparing.current && setCompared(new Map(found.map((one) => [one.key, one]))),
      (error) => number === comparing.current && fail(error),
    );
  }, [name, text, drafted, records]);

  /** Another draft takes the place of this one, which can be taken back. */
  const follow = (made: Canvas, before: string[], after: string[], madeFrom = parent) => {
    const [past, future] = [before.slice(-MOST_UNDONE), after.slice(0, MOST_UNDONE)];
    setCanvas(made);
    setPast(past);
    setFuture(future);
    setTried(null);
    const kept: Kept = { text: made.text, parent: madeFrom, past, future };
    stored(draftKey, made.changed || past.length || future.length ? JSON.stringify(kept) : null);
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

  const take = (made: Canvas, path: string) => {
    follow(made, [...past, text], []);
    const left = canvas?.not_sent[path];
    const more = [made.findings.length ? `${made.findings.length} to mend.` : "", left ? `Until now it was not sent: ${left}` : ""];
    say(["Changed.", ...more, "Ctrl+Z takes it back."].filter(Boolean).join(" "));
  };

  /** Makes a change. A line that stands is drawn over only by somebody who has seen both. */
  const change = (wanted: Change) =>
    work("change", async () => {
      const path = wanted.path ?? "";
      const made = await api.change(name, text, { ...wanted, replace: wanted.do === "draw" });
      const now = canvas && lineTo(canvas, path);
      const then = lineTo(made, path);
      if (made.text === text) say("It says so already.");
      else if (wanted.do === "draw" && now && then)
        setQuestion({
          title: `${path} is mapped already`,
          rows: [
            ["Now", sentence(now), [canvas.rules.find((one) => one.name === now.rule)?.words ?? "", now.note]],
            ["Instead", sentence(then), [then.note]],
          ],
          wrong: made.findings.map((one) => one.message),
          yes: "Replace it",
          no: "Keep what is there",
          accept: () => take(made, path),
        });
      else take(made, path);
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
      follow(found, [...past, text], [], found.version);
      setParent(found.version);
      say("As it is in force.");
    });

  /** Does something that would lose what the panel's form says, once the person has decided on that. */
  const afterUnsaved = (go: () => void) => {
    if (!unsaved) return go();
    setQuestion({
      title: `Changes of ${chosen.target} are not applied yet`,
      rows: [],
      yes: "Apply them",
      no: "Drop them",
      accept: unsaved,
      refuse: () => {
        setUnsaved(null);
        go();
      },
    });
  };

  const draw = (source: string, target: string) => {
    setChosen({ source: "", target });
    setPanel(true);
    change({ do: "draw", path: target, source });
  };

  const chooseTarget = (path: string, mayDraw: boolean) => {
    if (mayDraw && chosen.source && mayPublish) afterUnsaved(() => draw(chosen.source, path));
    else if (path !== chosen.target || !panel)
      afterUnsaved(() => {
        setChosen({ ...chosen, target: path });
        setPanel(true);
      });
  };

  const look = async () => {
    const found = await api.trial(name, text);
    setTried(found);
    setSeenText(text);
    setConfirm("");
    return found.trial;
  };

  const tryIt = () =>
    work("trial", async () => {
      const { records, changed } = await look();
      say(`Tried on the last ${count(records, "record")}: ${count(changed, "document")} would change. All of it stands below.`);
    });

  const publish = () =>
    work("publish", async () => {
      if (tried === null || seenText !== text) {
        await look();
        say("This is what would change. To bring it into force, confirm it where it is large, and press Publish once more.");
        return;
      }
      const done = await api.publish(name, text, message, parent, tried.number, confirm);
      setMessage("");
      if (done.in_force) {
        stored(draftKey, null);
        const found = await api.canvas(name);
        begin(found, found.version);
        setPast([]);
        setFuture([]);
        setTried(null);
      }
      document.body.dispatchEvent(new Event("mapping-published")); // the list of changes below is read again
      say(done.message);
    });

  const seen = useMemo(
    () => ({
      source: matching(rows(canvas?.source ?? []), search.source),
      target: matching(rows(canvas?.target ?? []), search.target),
    }),
    [canvas, search],
  );
  const wrong = useMemo(() => new Set((canvas?.findings ?? []).map((one) => one.path).filter(Boolean)), [canvas]);

  useEffect(() => {
    const key = (event: KeyboardEvent) => {
      if (question) return;
      const typing = (event.target as HTMLElement).closest("input, textarea");
      const pressed = event.ctrlKey || event.metaKey ? event.key.toLowerCase() : "";
      if ((pressed === "z" || pressed === "y") && !typing && busy === "") {
        event.preventDefault();
        if (pressed === "y" || event.shiftKey) redo();
        else undo();
      }
      if (event.key === "Escape" && !typing)
        afterUnsaved(() => {
          setChosen({ source: "", target: "" });
          setPanel(false);
        });
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  });

  useEffect(() => {
    if (narrow && panel && chosen.target) document.querySelector(".panel")?.scrollIntoView({ block: "start" });
  }, [narrow, panel, chosen.target]);

  const unconfirmed =
    tried !== null && seenText === text && tried.large && confirm.replace(/[,\s]/g, "") !== String(tried.changes);

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
          <button type="button" onClick={() => afterUnsaved(tryIt)} disabled={!sound || busy !== ""}>
            {busy === "trial" ? "Trying …" : "Try on the last 500"}
          </button>
        )}
        {mayPublish && (
          <form
            onSubmit={(event) => {
              event.preventDefault();
              afterUnsaved(publish);
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
            <button
              type="submit"
              className="main"
              title={
                !message.trim()
                  ? "Write what changes, and why, first"
                  : unconfirmed
                    ? "It is a large change: confirm it below by its number"
                    : undefined
              }
              disabled={!canvas.changed || !sound || !message.trim() || unconfirmed || busy !== ""}
            >
              {busy === "publish" ? "Publishing …" : "Publish"}
            </button>
          </form>
        )}
        <span className="draft">{canvas.changed ? "Draft, not in force" : "In force"}</span>
      </div>
      <p role="status" className={`said${said.bad ? " bad" : ""}`}>
        {UNDER_WAY[busy] || said.words || hint(chosen, mayPublish && !narrow, drafted && message.trim() === "")}
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
      {tried && (
        <Result trial={tried.trial} close={() => setTried(null)}>
          {tried.large && canvas.changed && seenText === text && (
            <p>
              {tried.why_large}{" "}
              <label>
                Write {tried.changes.toLocaleString("en-GB")} to confirm{" "}
                <input
                  inputMode="numeric"
                  autoComplete="off"
                  size={8}
                  value={confirm}
                  onChange={(event) => setConfirm(event.target.value)}
                />
              </label>
            </p>
          )}
        </Result>
      )}
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
          <div className="drawing">
            <div className="finds">
              {!narrow && <Find side="source" tree={canvas.source_document} rows={seen.source} search={search.source} set={(source) => setSearch({ ...search, source })} />}
              <Find side="target" tree={canvas.target_document} rows={seen.target} search={search.target} set={(target) => setSearch({ ...search, target })} />
            </div>
            {narrow ? (
              <Lines {...{ canvas, trace, wrong }} rows={seen.target} chosen={chosen.target} choose={(path) => chooseTarget(path, false)} />
            ) : (
              <div className="picture">
                <Flow
                  {...{ canvas, trace, shares, chosen, wrong, dark, seen }}
                  chooseSource={(path) => setChosen({ ...chosen, source: chosen.source === path ? "" : path })}
                  chooseTarget={chooseTarget}
                  drawn={(source, target) => (mayPublish ? afterUnsaved(() => draw(source, target)) : fail(new Error("An analyst may change mappings.")))}
                />
              </div>
            )}
          </div>
        )}
        {panel && chosen.target && (
          <Panel
            {...{ canvas, trace, words, change, say, fail }}
            ask={setQuestion}
            path={chosen.target}
            mayChange={mayPublish}
            edited={(save) => setUnsaved(() => save)}
            close={() => afterUnsaved(() => setPanel(false))}
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
                {one.key} <Chip state={one.state} drafted={drafted} found={compared.get(one.key)} />
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
        {trace && <Fate trace={trace} found={drafted ? compared.get(trace.key) : undefined} />}
      </section>
      {question && <Ask {...question} close={() => setQuestion(null)} />}
    </div>
  );
}

function hint(chosen: Chosen, mayChange: boolean, unpublished: boolean): string {
  if (!mayChange) return "Choose a target field to see where it comes from.";
  if (chosen.source) return `${chosen.source} is chosen. Now choose the target field, or press Escape.`;
  if (unpublished) return "See it on the records below or try it on the last 500; then write what changes and why, and publish.";
  return "Drag from a source field to a target field, or choose one after the other. A target field opens its line.";
}

const STATES: Record<string, string> = {
  ready: "would be sent",
  waiting: "would wait",
  left_out: "would be left out",
  dead: "would be refused",
};
const HELD: Record<string, string> = { delivered: "delivered", unchanged: "delivered", dead: "refused", left_out: "left out" };

/** Beside a record: what became of it; with a draft, what the draft does to it. */
function Chip({ state, drafted, found }: { state: string | null; drafted: boolean; found?: Compared }) {
  if (!drafted) return <span className={`state ${state === "unchanged" ? "delivered" : state ?? ""}`}>{HELD[state ?? ""] ?? state ?? ""}</span>;
  if (!found) return <span className="quiet">…</span>;
  const [words, look] = done(found);
  return <span className={`state ${look}`}>{words}</span>;
}

function done(found: Compared): [string, string] {
  const fields = Object.keys(found.fields).length;
  if (found.before !== found.after) {
    if (found.before === "dead") return ["would recover", "good"];
    return [STATES[found.after] ?? found.after, found.after];
  }
  if (found.kept) return ["delivered, stays", ""];
  if (fields) return [fields === 1 ? "1 field changes" : `${fields} fields change`, "warn"];
  if (!found.runs) return ["not mapped again", ""];
  return [found.after === "ready" ? "same" : `${STATES[found.after] ?? found.after} as before`, ""];
}

function Fate({ trace, found }: { trace: Trace; found?: Compared }) {
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
      {found && (
        <section aria-label="By the draft">
          <p>
            By the draft: <b>{done(found)[0]}</b>
            {found.before !== found.after && `; by what is in force it ${STATES[found.before] ?? found.before}`}.
          </p>
          {Object.entries(found.fields).map(([path, one]) => (
            <p key={path}>
              {path}: <BeforeAfter one={one} />
            </p>
          ))}
        </section>
      )}
    </div>
  );
}

/** Values before and after; of personal data the shape alone. */
function BeforeAfter({ one }: { one: Example }) {
  const [before, after] = [joined(one.before) || "–", joined(one.after) || "–"];
  if (one.personal)
    return (
      <>
        <i>(personal data)</i> {before === after ? "changes; its shape stays" : `of the shape ${before} → ${after}`}
      </>
    );
  return (
    <>
      <bdi>{before}</bdi> → <bdi>{after}</bdi>
    </>
  );
}

// What takes some seconds says so at once; its result stands there when it comes.
const UNDER_WAY: Record<string, string> = {
  trial: "Trying it on the last records: it takes some seconds, and nothing is written …",
  publish: "Publishing: what would change is worked out first, which takes some seconds …",
};

function count(number: number, what: string): string {
  return `${number.toLocaleString("en-GB")} ${what}${number === 1 ? "" : "s"}`;
}

function Result({ trial, close, children }: { trial: Trial; close: () => void; children: ReactNode }) {
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
        {trial.delivered > 0 && ` ${trial.delivered} of them were delivered before, and go by the draft once they are read again.`}
        {trial.closed > 0 && (
          <b className="bad">
            {" "}
            TIMS has closed {trial.closed} of these orders: each of them would then be refused, and be a dead letter.
          </b>
        )}
        {trial.not_run > 0 && ` ${trial.not_run} are delivered and are not mapped again.`} Nothing was written ({trial.seconds} s).
      </p>
      {children}
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
                      {example.key}: <BeforeAfter one={example} />
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
