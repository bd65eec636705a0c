// What every page does: times that stay true, questions in a dialog, and word of a lost connection.
"use strict";
(() => {
  const minute = 60, hour = 60 * minute, day = 24 * hour;

  // The same words as the server's, in package web, words.go.
  function ago(then, now) {
    const s = (now - then) / 1000;
    if (s < 45) return "just now";
    if (s < hour - 30) return Math.max(1, Math.round(s / minute)) + " min ago";
    if (s < 2 * day - 30 * minute) return Math.round(s / hour) + " h ago";
    if (s < 7 * day) return Math.round(s / day) + " days ago";
    return null;
  }

  const local = new Intl.DateTimeFormat("en-GB", {
    day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
  });

  function times() {
    for (const time of document.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (time.hasAttribute("data-exact")) {
        time.textContent = local.format(at);
        continue;
      }
      time.title = local.format(at);
      if (time.hasAttribute("data-until")) continue;
      const words = ago(at, Date.now());
      if (words && words !== time.textContent) time.textContent = words;
    }
  }

  // Boxes that a person opened stay open when the page is refreshed under them.
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) =>
    !(name === "open" && node.tagName === "DETAILS");

  times();
  setInterval(times, 20000);
  document.addEventListener("htmx:afterSwap", times);
  document.addEventListener("longhaul:refreshed", times);

  // A tab that comes back into view shows what is, not what was.
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState !== "visible") return;
    for (const part of document.querySelectorAll("[data-refresh]")) htmx.trigger(part, "refresh");
  });

  const offline = document.getElementById("offline");
  document.addEventListener("htmx:sendError", () => { offline.hidden = false; });
  document.addEventListener("htmx:afterOnLoad", () => { offline.hidden = true; });

  // Links marked data-dialog lead to a page that asks; with scripts it asks here.
  const dialog = document.getElementById("dialog"), body = document.getElementById("dialog-body");
  let opener = null;
  document.addEventListener("click", async (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const link = event.target.closest("a[data-dialog], a[data-close]");
    if (!link) return;
    if (link.hasAttribute("data-close")) {
      if (!dialog.open) return;
      event.preventDefault();
      dialog.close();
      return;
    }
    event.preventDefault();
    opener = link;
    let answer;
    try {
      answer = await fetch(link.href, { headers: { "HX-Request": "true" } });
    } catch {
      offline.hidden = false;
      return;
    }
    if (!answer.ok) { // the page says what is wrong
      location.assign(link.href);
      return;
    }
    body.innerHTML = await answer.text();
    dialog.showModal();
  });
  dialog.addEventListener("close", () => {
    body.replaceChildren();
    const back = opener && (opener.isConnected ? opener : document.getElementById(opener.id));
    if (back) back.focus();
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  // A button with data-copy copies what the element of that id says.
  function copying() {
    if (!navigator.clipboard) return; // only where the connection is safe
    for (const button of document.querySelectorAll("button[data-copy]")) button.hidden = false;
  }
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    const words = button.querySelector("span");
    words.textContent = "Copied";
    setTimeout(() => { words.textContent = "Copy"; }, 2000);
  });
  copying();
  document.addEventListener("htmx:afterSwap", copying);

  // The menu closes when one looks elsewhere.
  const menu = document.querySelector("details.menu");
  if (menu) {
    document.addEventListener("click", (event) => { if (!menu.contains(event.target)) menu.open = false; });
    menu.addEventListener("focusout", (event) => {
      if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false;
    });
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !menu.open) return;
      menu.open = false;
      menu.querySelector("summary").focus();
    });
  }

  const wrong = document.querySelector("[data-focus]");
  if (wrong) wrong.focus();
})();
