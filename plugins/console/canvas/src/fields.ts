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
