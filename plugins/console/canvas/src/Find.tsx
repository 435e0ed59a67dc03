// Looks for a field of a tree: by its name, its path, its type or what the contract says of it.

import type { KeyboardEvent } from "react";

import type { Row } from "./fields";

interface Props {
  side: "source" | "target";
  tree: string;
  rows: Row[];
  search: string;
  set: (search: string) => void;
}

export function Find({ side, tree, rows, search, set }: Props) {
  const id = `find-${side}`;
  const press = (event: KeyboardEvent<HTMLInputElement>) => {
    if (event.key === "Escape" && search) {
      event.stopPropagation();
      set("");
    }
    if (event.key === "ArrowDown" || event.key === "Enter") {
      event.preventDefault();
      document.querySelector<HTMLButtonElement>(`[data-tree="${side}"] button`)?.focus();
    }
  };
  const count = rows.filter((row) => row.field.takes).length;
  return (
    <div className="find">
      <label htmlFor={id}>Find in {tree}</label>
      <input id={id} type="search" autoComplete="off" placeholder="name or description" value={search} onChange={(event) => set(event.target.value)} onKeyDown={press} />
      <span role="status" className="quiet">
        {search && (count === 1 ? "1 field" : count ? `${count} fields` : "no field")}
      </span>
    </div>
  );
}
