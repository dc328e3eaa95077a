// Comfort for pages that also work without scripts: menus that close, lists that follow what a person types, ticks that
// are kept at once, a form that is sent once and keeps what was typed when the server cannot be reached, and a pop-up
// that screen readers read.
// A field that is hidden is cleared, so that nothing hidden is chosen.
"use strict";

const all = (selector, inside = document) => Array.from(inside.querySelectorAll(selector));

// Close a menu when the focus leaves it or Escape is pressed; then return the focus to the menu's button.
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

// Clear the fields inside a hidden element; return whether any had a value.
const clear = (inside) => {
  let cleared = false;
  for (const field of all("input", inside)) {
    const checkable = field.type === "radio" || field.type === "checkbox";
    cleared ||= checkable ? field.checked : field.value !== "";
    if (checkable) field.checked = false;
    else field.value = "";
  }
  return cleared;
};

// Narrow the list of colleagues while a person types: words in any order, as the server searches.
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
      item.querySelector("input").disabled = item.hidden; // so that the browser points at a field that is visible
      shown += item.hidden ? 0 : 1;
    }
    none.hidden = shown > 0;
  });
  list.addEventListener("change", () => {
    unchosen.hidden = true;
  });
}

// Say beside the button who gets what, as soon as a colleague of the form is chosen or their e-mail is entered.
for (const place of all("#recipient")) {
  const form = place.closest("form");
  const isolated = (text) => Object.assign(document.createElement("bdi"), { textContent: text });
  const chosen = () => {
    const row = form.querySelector("#colleague-list li:has(input:checked)");
    if (row) return [row.querySelector(".name").textContent, row.querySelector("input").value];
    const entered = form.querySelector("input[list=colleagues]")?.value.trim().toLowerCase();
    const known = all("#colleagues option").find((option) => entered && option.value.toLowerCase() === entered);
    return known && [known.textContent, known.value];
  };
  const show = () => {
    const [name, login] = chosen() ?? [];
    const sentence = name ? [isolated(place.dataset.what), " → ", isolated(name), " (", isolated(login), ")"] : [];
    place.replaceChildren(...sentence);
  };
  form.addEventListener("input", show);
  show();
}

// Clear the fields that belong to an action that is not chosen; the style sheet hides them.
for (const more of all(".choice .more")) {
  const clearIfHidden = () => {
    if (getComputedStyle(more).display === "none") clear(more);
  };
  more.closest("form").addEventListener("change", clearIfHidden);
  clearIfHidden();
}

// An end is chosen in one way: a day that is entered is "Another day", and an offered end clears the day.
for (const ends of all("fieldset.ends")) {
  const day = ends.querySelector("input[type=date]");
  const offers = all("input[type=radio]", ends);
  day.addEventListener("input", () => {
    for (const offer of offers) offer.checked = offer.value === "day" && day.value !== "";
  });
  ends.addEventListener("change", (event) => {
    if (event.target.type === "radio" && event.target.value !== "day") day.value = "";
  });
}

// Show how many patients are selected, on this page and elsewhere, and keep each tick when it is made.
let keeping = Promise.resolve();
for (const form of all("form.selection[method=post]")) {
  const show = () => {
    const bar = document.getElementById("selection-bar");
    const number = Number(bar.dataset.elsewhere) + all("input[name=patient]:checked", form).length;
    document.getElementById("selected").textContent =
      `${number.toLocaleString("en")} ${number === 1 ? "patient" : "patients"} selected`;
    form.classList.toggle("kept", Number(bar.dataset.elsewhere) > 0);
  };
  form.addEventListener("change", (event) => {
    if (event.target.name !== "patient") return;
    show();
    const ticks = new FormData(form);
    ticks.append("keep", "yes");
    // A tick that is not kept now is sent with the next button of the form.
    const send = () => fetch(form.action, { method: "POST", body: new URLSearchParams(ticks), keepalive: true });
    keeping = keeping.then(send).catch(() => {});
  });
}

// Search a list while a person types: the newest answer replaces the list, and an older answer never does.
for (const form of all("form[data-list]")) {
  const field = form.querySelector("input[type=search]");
  let newest = 0;
  let waiting;
  const search = async () => {
    const number = ++newest;
    const url = new URL(form.dataset.list, window.location.href);
    if (field.value.trim()) url.searchParams.set("q", field.value.trim());
    try {
      const kept = keeping;
      await kept;
      const response = await fetch(url, { headers: { Accept: "text/html" } });
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const listed = page.getElementById("listed");
      if (number !== newest || !response.ok || !listed) return;
      if (kept !== keeping) return search(); // the answer does not know what was ticked meanwhile
      document.getElementById("listed").replaceWith(document.adoptNode(listed));
      document.getElementById("selection-bar").replaceWith(document.adoptNode(page.getElementById("selection-bar")));
      form.classList.toggle("kept", page.querySelector("form[data-list]").classList.contains("kept"));
      document.getElementById("count").replaceChildren(...page.getElementById("count").childNodes);
      window.history.replaceState(null, "", url);
    } catch {
      // The button *Search* still works, and tells if the server cannot be reached.
    }
  };
  field.addEventListener("input", () => {
    newest += 1; // an answer to what was typed before comes too late
    window.clearTimeout(waiting);
    waiting = window.setTimeout(search, 250);
  });
  form.addEventListener("submit", () => window.clearTimeout(waiting));
}

// Send a form once, and only if the server answers. If there is no answer to the form, it can be sent again: the server
// does nothing twice.
const later = (milliseconds) => new Promise((resolve) => window.setTimeout(resolve, milliseconds));
const requireServer = async () => {
  const waiting = new AbortController();
  const timer = window.setTimeout(() => waiting.abort(), 8000);
  await fetch("/healthz", { cache: "no-store", signal: waiting.signal });
  window.clearTimeout(timer);
};
for (const form of all("form.guarded")) {
  const [offlineNote, slowNote] = [".offline", ".slow"].map((note) => form.querySelector(note));
  let sending = false;
  let sent = false;
  form.addEventListener("submit", async (event) => {
    const button = form.querySelector(".primary, .danger");
    const changes = event.submitter && event.submitter !== button && !event.submitter.matches(".default:not([name])");
    if (!sending && changes) return;
    event.preventDefault();
    if (sending) return;
    sending = form.inert = true; // nobody can change the form after it is sent
    offlineNote.hidden = slowNote.hidden = true;
    button.setAttribute("aria-busy", "true");
    try {
      await requireServer();
      sent = true;
      form.submit();
      await later(10000);
    } catch {
      // The server cannot be reached.
    }
    (sent ? slowNote : offlineNote).hidden = false;
    sending = form.inert = false;
    button.removeAttribute("aria-busy");
    button.focus();
  });
}
window.addEventListener("pageshow", (event) => {
  if (event.persisted) window.location.replace(window.location.pathname + window.location.search);
});

// A screen reader reads a status when it changes, but not when the page already contains it.
const popup = document.getElementById("popup");
if (popup && !popup.hidden) {
  const text = popup.querySelector("p");
  const words = Array.from(text.childNodes);
  text.replaceChildren();
  window.setTimeout(() => text.replaceChildren(...words), 150);
  const undo = popup.querySelector(".undo");
  if (undo) undo.addEventListener("submit", () => { undo.inert = true; }); // it is sent once
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "Close";
  close.addEventListener("click", () => {
    popup.hidden = true;
  });
  popup.append(close);
}

// After a refusal, the focus is on the field at fault, or on the refusal if no field is at fault.
const refused = document.getElementById("refused");
if (refused && !document.querySelector("[autofocus]")) refused.focus();
