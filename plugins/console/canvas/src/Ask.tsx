// A question before something that stands is replaced: what is there, what would be, and what is wrong with it.

import { useEffect, useRef } from "react";

export interface Question {
  title: string;
  rows: [string, string, string[]][]; // what, how, and what people have said of it
  wrong?: string[];
  yes: string;
  no: string;
  accept: () => void;
  refuse?: () => void;
}

export function Ask({ title, rows, wrong = [], yes, no, accept, refuse, close }: Question & { close: () => void }) {
  const place = useRef<HTMLDialogElement>(null);
  const keep = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    place.current?.showModal();
    keep.current?.focus();
    return () => before?.focus?.();
  }, []);
  return (
    <dialog ref={place} className="ask" aria-labelledby="ask-title" onClose={close}>
      <h2 id="ask-title">{title}</h2>
      <dl>
        {rows.map(([what, how, notes]) => (
          <div key={what}>
            <dt>{what}</dt>
            <dd>
              {how}
              {notes.filter(Boolean).map((note) => (
                <p key={note} className="quiet">
                  {note}
                </p>
              ))}
            </dd>
          </div>
        ))}
      </dl>
      {wrong.slice(0, 3).map((one) => (
        <p key={one} className="bad">
          {one}.
        </p>
      ))}
      <div className="buttons">
        <button
          type="button"
          className="main"
          onClick={() => {
            place.current?.close();
            accept();
          }}
        >
          {yes}
        </button>
        <button
          type="button"
          ref={keep}
          onClick={() => {
            place.current?.close();
            refuse?.();
          }}
        >
          {no}
        </button>
      </div>
    </dialog>
  );
}
