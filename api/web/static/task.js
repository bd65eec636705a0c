// A task's page: follows the task's events, refreshes its state and lets the log grow.
"use strict";
(() => {
  const log = document.getElementById("log");
  const none = document.getElementById("log-none");
  const toEnd = document.getElementById("log-end");
  const offline = document.getElementById("offline");
  const encoder = new TextEncoder(), decoder = new TextDecoder();
  const live = () => document.getElementById("live");
  const events = live().dataset.events;
  let known = log ? Number(log.dataset.size) : 0; // bytes of the log that are shown
  let source = null, ended = events === "";

  const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 30;
  const scrollToEnd = () => { log.scrollTop = log.scrollHeight; };

  // A stream that begins anew repeats what is shown already.
  function append(offset, text) {
    const bytes = encoder.encode(text), skip = known - offset;
    if (skip < 0 || skip >= bytes.length) return;
    const follow = atEnd();
    log.append(skip === 0 ? text : decoder.decode(bytes.subarray(skip)));
    known += bytes.length - skip;
    none.hidden = true;
    if (follow) scrollToEnd(); else toEnd.hidden = false;
  }

  // The state is drawn by the server and put into the page without touching what did not change.
  let newest = 0, loading = false, again = false;
  const stale = () => Number(live().dataset.version) < newest;

  async function refresh() {
    if (loading) {
      again = true;
      return;
    }
    loading = true;
    do {
      again = false;
      try {
        await load();
      } catch {
        offline.hidden = false;
        await new Promise((resolve) => setTimeout(resolve, 3000));
      }
    } while (again || stale());
    loading = false;
  }

  async function load() {
    const answer = await fetch(location.pathname, { headers: { "HX-Request": "true" } });
    offline.hidden = true;
    if (!answer.ok) { // signed out, or the task was deleted
      location.assign(answer.headers.get("HX-Redirect") || location.pathname);
      await new Promise(() => {}); // until the other page is there
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.title = page.title;
    Idiomorph.morph(live(), page.getElementById("live"));
    document.dispatchEvent(new Event("longhaul:refreshed"));
  }

  function taskChanged(task) {
    newest = task.version;
    if (stale()) refresh();
    if (task.finished_at) {
      ended = true;
      stop();
    }
  }

  function stop() {
    if (source) source.close();
    source = null;
  }

  function follow() {
    if (ended || source || document.visibilityState !== "visible") return;
    source = new EventSource(events);
    if (log) {
      source.addEventListener("log", (event) => {
        const data = JSON.parse(event.data);
        append(data.offset, data.text);
      });
    }
    source.addEventListener("task", (event) => taskChanged(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      if (!source || source.readyState !== EventSource.CLOSED) return; // the browser resumes by itself
      stop();
      refresh(); // finds out whether the session ended or the task is gone
      setTimeout(follow, 5000);
    });
  }

  // Browsers allow few streams at once; a tab that nobody looks at leaves its place to others.
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState !== "visible") {
      stop();
      return;
    }
    refresh();
    follow();
  });
  window.addEventListener("pagehide", stop);
  window.addEventListener("pageshow", follow);

  if (log) { // who may not see data has none
    log.addEventListener("scroll", () => { toEnd.hidden = atEnd(); });
    toEnd.addEventListener("click", () => { scrollToEnd(); log.focus(); });
    scrollToEnd();
  }
  follow();
})();
