// Comfort, on top of pages that work without it: menus that close, a list that narrows while one types, a form that is
// sent once and keeps what was typed when the server cannot be reached, and a pop-up that is read out.
"use strict";

const all = (selector, inside = document) => Array.from(inside.querySelectorAll(selector));

// A menu closes when one leaves it or presses Escape; the focus goes back to where it was opened.
document.addEventListener("click", (event) => {
  for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of all("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});
document.addEventListener("focusin", (event) => {
  for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});

// The list of colleagues narrows while one types.
for (const field of all("input[data-filters]")) {
  const list = document.getElementById(field.dataset.filters);
  if (!list) continue;
  const none = list.parentElement.querySelector(".none");
  field.addEventListener("input", () => {
    const part = field.value.trim().toLocaleLowerCase();
    let shown = 0;
    for (const item of list.children) {
      item.hidden = !item.textContent.toLocaleLowerCase().includes(part);
      shown += item.hidden ? 0 : 1;
    }
    if (none) none.hidden = shown > 0;
  });
}

// How many patients are selected.
for (const form of all("form.selection")) {
  const told = form.querySelector("#selected");
  if (!told) continue;
  form.addEventListener("change", () => {
    const number = all("input[name=patient]:checked", form).length;
    told.textContent = number === 1 ? "1 patient selected:" : `${number} patients selected:`;
  });
}

// A form is sent once, and only when the server answers.
for (const form of all("form.guarded")) {
  const told = form.querySelector(".offline");
  let sending = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (sending) return;
    sending = true;
    const button = form.querySelector(".primary, .danger");
    button.setAttribute("aria-busy", "true");
    try {
      await fetch("/healthz", { cache: "no-store" });
      form.submit();
      return;
    } catch {
      told.hidden = false;
    }
    sending = false;
    button.removeAttribute("aria-busy");
  });
}
window.addEventListener("pageshow", (event) => {
  if (event.persisted) window.location.reload();
});

// Assistive technology reads a status when it changes, not when a page comes with it.
const popup = document.getElementById("popup");
if (popup && !popup.hidden) {
  const text = popup.querySelector("p");
  const words = Array.from(text.childNodes);
  text.replaceChildren();
  window.setTimeout(() => text.replaceChildren(...words), 150);
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "Close";
  close.addEventListener("click", () => {
    popup.hidden = true;
  });
  popup.append(close);
}

// After a refusal the focus stands on the field at fault; without one, on the refusal.
const refused = document.getElementById("refused");
if (refused && !document.querySelector("[autofocus]")) refused.focus();
