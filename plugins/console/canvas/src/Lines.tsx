// The mapping to be read where the picture has no room: each target field with what its line says, and the value.

import { STATES } from "./Flow";
import { type Row, joined, lineTo, sentence } from "./fields";
import type { Canvas, Trace } from "./api";

interface Props {
  canvas: Canvas;
  trace: Trace | null;
  rows: Row[];
  chosen: string;
  wrong: Set<string>;
  choose: (path: string) => void;
}

export function Lines({ canvas, trace, rows, chosen, wrong, choose }: Props) {
  return (
    <section className="lines" data-tree="target" aria-label={`Target: ${canvas.target_document}`}>
      {rows.map(({ field }) => {
        const line = lineTo(canvas, field.path);
        const value = joined(trace?.ways[field.path]?.at(-1)?.values);
        if (!field.takes) return <h3 key={field.path}>{field.path}</h3>;
        return (
          <button
            type="button"
            key={field.path}
            data-path={field.path}
            aria-pressed={chosen === field.path}
            className={wrong.has(field.path) ? "missing" : field.state}
            onClick={() => choose(field.path)}
          >
            <b>
              {field.path}
              {field.required && <i title="required"> *</i>}
            </b>
            <span>{line ? sentence(line) : (canvas.not_sent[field.path] ?? STATES[field.state as keyof typeof STATES])}</span>
            {value && <span className="value">{value}</span>}
          </button>
        );
      })}
    </section>
  );
}
