// Comfort, on top of pages that work without it: menus that close, a list that narrows while one types, a form that is
// sent once and keeps what was typed when the server cannot be reached, and a pop-up that is read out. What is hidden
// is not chosen: hiding a field clears it.
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

// Clear the choices inside something that is hidden; return whether there were any.
const clear = (inside) => {
  let cleared = false;
  for (const field of all("input", inside)) {
    const ticks = field.type === "radio" || field.type === "checkbox";
    cleared ||= ticks ? field.checked : field.value !== "";
    if (ticks) field.checked = false;
    else field.value = "";
  }
  return cleared;
};

// The list of colleagues narrows while one types: words in any order, as the server searches.
for (const field of all("input[data-filters]")) {
  const list = document.getElementById(field.dataset.filters);
  if (!list) continue;
  const none = list.parentElement.querySelector(".none");
  const unchosen = document.getElementById("unchosen");
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const item of list.children) {
      const text = item.dataset.text.toLowerCase();
      item.hidden = !words.every((word) => text.includes(word));
      if (item.hidden && clear(item)) unchosen.hidden = false;
      item.querySelector("input").disabled = item.hidden; // so that the browser asks for a choice where one can be made
      shown += item.hidden ? 0 : 1;
    }
    none.hidden = shown > 0;
  });
  list.addEventListener("change", () => {
    unchosen.hidden = true;
  });
}

// What belongs to an action that is not chosen is out of sight, and cleared.
for (const more of all(".choice .more")) {
  const settle = () => {
    if (getComputedStyle(more).display === "none") clear(more);
  };
  more.closest("form").addEventListener("change", settle);
  settle();
}

// How many patients are selected.
for (const form of all("form.selection")) {
  const told = form.querySelector("#selected");
  if (!told) continue;
  form.addEventListener("change", () => {
    const number = all("input[name=patient]:checked", form).length;
    told.textContent = `${number} ${number === 1 ? "patient" : "patients"} selected on this page:`;
  });
}

// A form is sent once, and only when the server answers.
for (const form of all("form.guarded")) {
  const told = form.querySelector(".offline");
  let sending = false;
  form.addEventListener("submit", async (event) => {
    const button = form.querySelector(".primary, .danger");
    if (!sending && event.submitter && event.submitter !== button) return;
    event.preventDefault();
    if (sending) return;
    sending = form.inert = true; // what is sent is what stood there when it was sent
    button.setAttribute("aria-busy", "true");
    try {
      await fetch("/healthz", { cache: "no-store" });
      form.submit();
      return;
    } catch {
      told.hidden = false;
    }
    sending = form.inert = false;
    button.removeAttribute("aria-busy");
    button.focus();
  });
}
window.addEventListener("pageshow", (event) => {
  if (event.persisted) window.location.replace(window.location.pathname + window.location.search);
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
