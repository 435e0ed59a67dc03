// Fields and values as people read them.

import type { Canvas, Field, Line, Scalar, Values } from "./api";

export interface Row {
  field: Field;
  depth: number;
}

/** The rows of a tree, each field below its object or list. */
export function rows(fields: Field[], depth = 0): Row[] {
  return fields.flatMap((field) => [{ field, depth }, ...rows(field.children, depth + 1)]);
}

/** The rows that a search finds, each below its parents; all below a parent that is found itself. */
export function found(all: Row[], search: string): Row[] {
  const wanted = search.toLowerCase().split(/\s+/).filter(Boolean);
  if (!wanted.length) return all;
  const fits = ({ field }: Row) => {
    const told = `${field.path} ${field.words} ${field.description}`.toLowerCase();
    return wanted.every((word) => told.includes(word));
  };
  const keep = new Set<Row>();
  const above: Row[] = [];
  for (const row of all) {
    above.length = row.depth;
    above.push(row);
    if (fits(row) || above.some((one) => keep.has(one) && named(one.field, wanted))) for (const one of above) keep.add(one);
  }
  return all.filter((row) => keep.has(row));
}

/** Whether a parent itself is what is looked for, so that all below it is shown. */
function named(field: Field, wanted: string[]): boolean {
  return field.children.length > 0 && wanted.every((word) => field.path.toLowerCase().includes(word));
}

// Characters that turn or hide what stands beside them.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const LONGEST = 60;

export function shown(value: string | null | undefined): string {
  if (value === null || value === undefined) return "–";
  if (value === "") return "“”";
  const plain = value.replace(UNSEEN, "·");
  return plain.length > LONGEST ? `${plain.slice(0, LONGEST - 1)}…` : plain;
}

/** The values of a document, or of its lines, in one short text. */
export function joined(values: Values | undefined): string {
  if (!values || values.length === 0) return "";
  const first = values.slice(0, 3).map(shown).join(" · ");
  return values.length > 3 ? `${first} · +${values.length - 3}` : first;
}

export function written(value: Scalar): string {
  return value === true ? "yes" : value === false ? "no" : String(value ?? "");
}

/** Where a line's value comes from, in one sentence. */
export function sentence(line: Line): string {
  const made = line.columns.filter((name) => name !== line.target);
  const from = line.constant === null ? line.sources.concat(made).join(", else ") : "";
  return [from, ...stations(line)].filter(Boolean).join(" → ") || "nothing";
}

/** What happens on the way of a line, in a few words; [] where a value goes over as it is. */
export function stations(line: Line): string[] {
  const words: string[] = [];
  if (line.constant !== null) words.push(`always ${written(line.constant)}`);
  if (line.rule) words.push(`rule ${line.rule}`);
  for (const step of line.converters) words.push(step.argument === null ? step.name : `${step.name} ${step.argument}`);
  if (line.lookup) words.push(`lookup ${line.lookup}`);
  if (line.default !== null) words.push(`else ${written(line.default)}`);
  return words;
}

export function lineTo(canvas: Canvas, path: string): Line | undefined {
  return canvas.lines.find((line) => line.path === path);
}

export function fieldAt(fields: Field[], path: string): Field | undefined {
  return rows(fields).find((row) => row.field.path === path)?.field;
}
