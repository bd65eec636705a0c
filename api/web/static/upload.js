// Uploads of files: they go on by themselves after a lost connection, and after a reload once the
// file is chosen again. Pages that have some say where they are drawn and what is made of them.
"use strict";
const Uploads = (() => {
  const endpoint = new URL("/api/v1/uploads", location.href).href;
  // The last delay comes again for days: what was sent is kept, so there is no reason to give up.
  const delays = [0, 1000, 2000, 5000, 10000, ...Array(20000).fill(15000)];
  // A connection that is silent for so long, in ms, is dead, as after the lid was closed. It is longer
  // than any pause between two tries, and than the server waits with an answer.
  const silence = 60000;
  const noConnection = "No connection. Going on as soon as there is one.";
  const notNow = "The server cannot take it just now. Going on as soon as it can.";
  const memory = tus.defaultOptions.urlStorage;
  const mine = "longhaul/" + encodeURIComponent(document.body.dataset.user || "") + "/"; // others may use this browser too

  // ---- words ----

  const units = ["B", "kB", "MB", "GB", "TB"];
  function size(n) {
    let unit = 0;
    while (n >= 1000 && unit < units.length - 1) { n /= 1000; unit++; }
    return (unit === 0 ? n : n.toFixed(1)) + " " + units[unit];
  }

  function duration(seconds) {
    if (seconds < 60) return Math.max(1, Math.round(seconds)) + " s";
    if (seconds < 3600) return Math.round(seconds / 60) + " min";
    return (seconds / 3600).toFixed(1) + " h";
  }

  // refusal is what the server says of a request that it refused.
  function refusal(status, body) {
    if (status === 401) return "Your session has ended. Sign in again in another tab, then go on here.";
    let problem = {};
    try { problem = JSON.parse(body); } catch { /* not an answer of this server */ }
    return problem.detail || "The server answered " + status + ".";
  }

  // passes says whether to try again helps. A status of 0 is no answer at all.
  function passes(status) {
    return status === 0 || [408, 409, 423, 429].includes(status) || (status >= 500 && status !== 507);
  }

  // rest ends after that many ms, or at once when the signal says so.
  function rest(ms, signal) {
    return new Promise((done) => {
      setTimeout(done, ms);
      signal.addEventListener("abort", done);
      if (signal.aborted) done();
    });
  }

  // ---- what this browser remembers ----

  const idOf = (url) => url.slice(url.lastIndexOf("/") + 1);
  const lockOf = (id) => "longhaul upload " + id; // held by the tab that sends it
  let freed = Promise.resolve(); // when the locks that this page gave up are free

  const forgotten = new Set(); // the ids that this page has done with

  async function forget(id) {
    forgotten.add(id);
    for (const one of await memory.findAllUploads()) {
      if (one.uploadUrl && idOf(one.uploadUrl) === id) await memory.removeUpload(one.urlStorageKey);
    }
  }

  async function ask(id, headers, signal) {
    return fetch(endpoint + "/" + id, { headers: { Accept: "application/json", ...headers }, signal });
  }

  // inHand says whether this page or another tab has an upload, or this page had it: it is not to be
  // listed, and whoever asks how far it is would take it from them.
  async function inHand(id) {
    await freed;
    const locks = navigator.locks ? (await navigator.locks.query()).held : [];
    return locks.some((lock) => lock.name === lockOf(id)) || forgotten.has(id) || [...live].some((one) => one.id === id);
  }

  // exact asks how much has come: the request that broke off may not have told yet. Where no lock
  // says that no other tab is sending it, that would be taken from it.
  async function exact(known) {
    if (known.state !== "receiving" || !navigator.locks) return known;
    const answer = await fetch(endpoint + "/" + known.id, { method: "HEAD", headers: { "Tus-Resumable": "1.0.0" } });
    const offset = answer.headers.get("Upload-Offset");
    return answer.ok && offset ? { ...known, received: Number(offset) } : known;
  }

  // Kept are this person's uploads for an app that stopped, or were not used, as the server knows them.
  async function kept(app) {
    const found = [];
    for (const one of await memory.findAllUploads()) {
      const id = idOf(one.uploadUrl || "");
      if (!one.urlStorageKey.startsWith("tus::" + mine) || (one.metadata.app || "") !== app || await inHand(id)) continue;
      try {
        const answer = await ask(id);
        const known = answer.ok ? await answer.json() : null;
        if (known && known.state !== "failed" && !known.used_by) {
          if (!(await inHand(id))) found.push(await exact(known)); // it may have been taken up meanwhile
        } else if (known || answer.status === 404 || answer.status === 410) {
          await forget(id);
        }
      } catch { /* no connection: there will be another time to tell */ }
    }
    return found;
  }

  // ---- one upload ----

  class Upload {
    state = "sending"; // or paused, failed, checking, finished, gone
    sent = 0;          // bytes
    checked = 0;       // bytes, by the server
    away = "";         // why it waits, in words
    problem = "";      // why it failed, in words
    id = "";
    #tus = null;
    #changed;
    #marks = [];       // when how much was sent, for the speed
    #heard = 0;        // when there was a sign of life, or when the next try begins
    #turn = null;      // the last time that it was told to go
    #locked = "";      // the id that is locked, or is being
    #lock = null;      // whether it could be
    #unlock = () => {};
    #unlocked = null;  // when that has happened
    #asking = new AbortController(); // of the question that is out, or of the pause before the next

    // changed is called whenever there is something to draw, or to do.
    constructor(name, size, changed) {
      Object.assign(this, { name, size });
      this.#changed = () => changed(this);
    }

    send(file, app) {
      this.file = file;
      const print = mine + [app, file.name, file.size, file.lastModified].map(encodeURIComponent).join("/");
      const metadata = { filename: file.name, filetype: file.type || "application/octet-stream" };
      if (app) metadata.app = app;
      this.#tus = new tus.Upload(file, {
        endpoint, metadata, retryDelays: delays,
        fingerprint: async () => print, storeFingerprintForResuming: true,
        onUploadUrlAvailable: () => this.#found(),
        onProgress: (sent) => this.#progress(sent),
        onAfterResponse: (request, response) => this.#answered(request, response),
        onShouldRetry: (error) => this.#goesOn(statusOf(error)),
        onError: (error) => this.#refused(error),
        onSuccess: () => this.#check(),
      });
      this.#begin();
      return this;
    }

    // adopt takes up one that has come whole before.
    adopt(id) {
      this.id = id;
      live.add(this);
      this.#check();
      return this;
    }

    async #begin() {
      live.add(this);
      const before = (await this.#tus.findPreviousUploads()).pop();
      if (before) {
        this.id = idOf(before.uploadUrl);
        this.#tus.resumeFromPreviousUpload(before);
      }
      if (this.state === "sending") this.#go();
    }

    // go asks for the lock of one that is known before it asks the server, which takes the upload from
    // whoever is sending it.
    async #go(away = "") {
      const turn = this.#turn = {};
      this.#marks = [];
      this.#heard = performance.now();
      this.#set("sending", "", away);
      if (this.id && !(await this.#mine())) return;
      if (this.#turn === turn && this.state === "sending") this.#tus.start();
    }

    #set(state, problem = "", away = "") {
      Object.assign(this, { state, problem, away });
      this.#changed();
    }

    // waits tells why nothing goes on, after an answer of that status.
    #waits(status) {
      this.away = status === 0 || !navigator.onLine ? noConnection : notNow;
      this.#changed();
    }

    #found() {
      this.id = idOf(this.#tus.url);
      this.#mine();
    }

    // mine says whether it is for this tab to send it, and fails it otherwise: what is sent in two tabs
    // at once would be taken from each other for ever.
    #mine() {
      if (!navigator.locks) return true; // there are locks only where the connection is safe
      if (this.#locked !== this.id) {
        this.#unlock(); // of the one that the server has no more
        this.#locked = this.id;
        this.#lock = new Promise((known) => {
          this.#unlocked = navigator.locks.request(lockOf(this.id), { ifAvailable: true }, (lock) => {
            known(lock !== null);
            if (lock) return new Promise((done) => { if (this.state === "gone") done(); else this.#unlock = done; });
            this.#locked = "";
            this.#fail("This file is being sent in another tab of this browser.");
          }).catch(() => known(true)); // a browser may keep none for this page
        });
      }
      return this.#lock;
    }

    #progress(sent) {
      const now = performance.now();
      this.#heard = now;
      this.sent = sent;
      this.away = "";
      this.#marks.push([now, sent]);
      while (this.#marks.length > 2 && now - this.#marks[0][0] > 5000) this.#marks.shift();
      this.#changed();
    }

    // The library takes a refusal of HEAD for the end of an upload and begins anew: only where the
    // server has none any more is that right.
    #answered(request, response) {
      this.#heard = performance.now();
      const status = response.getStatus();
      if (request.getMethod() === "HEAD" && status >= 400 && status !== 404 && status !== 410) {
        throw Object.assign(new Error("HEAD was answered " + status), { status });
      }
    }

    #goesOn(status) {
      if (!passes(status)) return false;
      this.#heard = performance.now();
      this.#waits(status);
      this.#readable();
      return true;
    }

    // A file that was changed meanwhile looks to the library like a lost connection.
    async #readable() {
      try {
        await this.file.slice(0, 1).arrayBuffer();
      } catch {
        this.#fail("The file was changed, moved or deleted since it was chosen. Choose it again.");
      }
    }

    #refused(error) {
      const answer = error.originalResponse, status = statusOf(error);
      if (status === 410 && this.id) { // what came of it is lost: whoever goes on begins anew
        forget(this.id);
        this.#tus.resumeFromPreviousUpload({ uploadUrl: null, urlStorageKey: null });
      }
      this.#fail(status ? refusal(status, answer ? answer.getBody() : "") : "The file could not be sent: " + error.message);
    }

    #fail(problem) {
      if (this.state === "gone") return;
      if (this.#tus) this.#tus.abort();
      this.#set("failed", problem);
    }

    // check waits until the server has looked through what has come.
    async #check() {
      if (this.state === "gone") return;
      this.sent = this.size;
      this.#set("checking");
      if (!(await this.#mine())) return;
      for (let tag = ""; this.state === "checking";) {
        const { signal } = this.#asking = new AbortController();
        let status = 0, pause = 2000;
        this.#heard = performance.now();
        try { // first, and where it waits for the server already, it is told at once how things are
          const answer = await ask(this.id + (this.away || !tag ? "" : "?wait=30"), tag ? { "If-None-Match": tag } : {}, signal);
          const text = await answer.text();
          if (this.state !== "checking") return;
          if (!passes(answer.status)) {
            this.away = "";
            this.#took(answer.status, text);
            tag = answer.headers.get("ETag") || "";
            continue;
          }
          status = answer.status;
          pause = Math.max(pause, 1000 * Number(answer.headers.get("Retry-After")) || 0);
        } catch { /* told below */ }
        if (this.state !== "checking") return;
        this.#waits(status);
        this.#heard = performance.now() + pause;
        await rest(pause, signal);
      }
    }

    #took(status, text) {
      if (status === 304) {
        this.#changed();
        return;
      }
      if (status !== 200) {
        this.#fail(refusal(status, text));
        return;
      }
      const known = JSON.parse(text);
      if (known.used_by) { // another tab was faster
        forget(this.id);
        this.#fail("This upload was used already. Choose the file again.");
      } else if (known.state === "failed") {
        forget(this.id);
        this.#fail(known.message);
      } else if (known.state === "finished") {
        this.#set("finished");
      } else {
        this.checked = known.checked;
        this.#changed();
      }
    }

    pause() {
      this.#tus.abort();
      this.#set("paused");
    }

    resume() {
      if (this.#tus) this.#go(); else this.#check();
    }

    // toggle is what the one button does.
    toggle() {
      if (this.state === "sending") this.pause(); else this.resume();
    }

    // leave stops it, to go on another time.
    leave() {
      if (this.#tus) this.#tus.abort();
      this.#set("gone");
      this.#release();
    }

    // cancel stops it for good, unless another tab has it.
    async cancel() {
      const mine = this.#locked === this.id || !navigator.locks;
      this.leave();
      if (!this.id || !mine) return;
      await forget(this.id);
      await remove(this.id);
    }

    // usedBy asks what was made of it; null: nothing.
    async usedBy() {
      const answer = await ask(this.id);
      return answer.ok ? (await answer.json()).used_by : null;
    }

    // used says that something was made of it.
    used() {
      this.#release();
      forget(this.id);
    }

    #release() {
      live.delete(this);
      this.#asking.abort();
      this.#unlock();
      freed = Promise.all([freed, this.#unlocked]);
    }

    // revive goes on at once where there is reason to believe that it can, or that it is stuck.
    revive(online) {
      const whole = this.sent >= this.size;
      const most = this.state === "sending" && whole && !this.away ? 5 * silence : silence; // a server may have much to do in the end
      if (online ? !this.away : performance.now() - this.#heard < most) return;
      if (this.state === "checking") this.#asking.abort();
      if (this.state !== "sending" || !this.#tus) return;
      this.#tus.abort();
      this.#go(online ? "" : this.away || (whole ? "" : noConnection));
    }

    // busy says whether to leave the page would break something off.
    get busy() { return this.state === "sending" || this.state === "paused"; }

    get percent() { return this.size ? Math.floor(100 * this.sent / this.size) : 100; }

    get words() {
      const of = size(this.sent) + " of " + size(this.size);
      switch (this.state) {
        case "sending": {
          if (this.away) return this.away + " " + of + " sent.";
          if (this.sent >= this.size) return "Sent. Waiting for the server to have it all.";
          const [began, before] = this.#marks[0] || [0, 0], passed = performance.now() - began, speed = (this.sent - before) / passed * 1000;
          const words = this.percent + " %, " + of;
          return this.#marks.length > 1 && passed > 500 && speed > 0
            ? words + ", " + size(speed) + "/s, about " + duration((this.size - this.sent) / speed) + " left" : words;
        }
        case "paused": return "Paused at " + this.percent + " %, " + of + ".";
        case "failed": return "Stopped at " + this.percent + " %, " + of + ".";
        case "checking": return this.away || (this.checked ? "Sent. The server checks it: " + Math.floor(100 * this.checked / this.size) + " %" : "Sent. The server checks it…");
      }
      return "Sent and checked, " + size(this.size) + ".";
    }

    // said is the same for who listens: not every second, but when something else is the case.
    get said() {
      if (this.state === "sending" && !this.away) return "Sending " + this.name + ": " + 10 * Math.floor(this.percent / 10) + " %";
      return this.state === "failed" ? this.name + ": " + this.problem : this.name + ": " + (this.away || this.words);
    }
  }

  function statusOf(error) {
    if (error.originalResponse) return error.originalResponse.getStatus();
    return (error.causingError && error.causingError.status) || 0;
  }

  const live = new Set();
  window.addEventListener("online", () => { for (const one of live) one.revive(true); });
  setInterval(() => { for (const one of live) one.revive(false); }, 5000);
  window.addEventListener("beforeunload", (event) => { if ([...live].some((one) => one.busy)) event.preventDefault(); });

  // draw shows an upload, or nothing, in a panel as the shared template has it.
  const spoken = new WeakMap(); // when a panel last said something
  function draw(panel, upload) {
    if (!panel) return;
    panel.hidden = !upload || upload.state === "gone";
    if (panel.hidden) return;
    const part = (name) => panel.querySelector("[data-" + name + "]"), stopped = upload.state === "paused" || upload.state === "failed";
    part("bar").value = upload.percent;
    part("bar").setAttribute("aria-label", "Upload of " + upload.name);
    part("words").textContent = upload.words;
    const toggle = part("toggle"), cancel = part("cancel"), idle = upload.state === "checking" || upload.state === "finished";
    if (idle) hide(toggle, cancel); else toggle.hidden = false;
    label(toggle, stopped ? "Go on" : "Pause", upload.name);
    label(cancel, upload.state === "finished" ? "Remove" : "Cancel", upload.name);
    say(part("say"), upload.said, upload.state === "sending" && !upload.away);
  }

  // hide hides a part of the page. The focus, where it is in it, goes on to another part.
  function hide(part, next) {
    if (part.contains(document.activeElement)) next.focus();
    part.hidden = true;
  }

  function label(button, word, name) {
    if (button.textContent !== word) button.textContent = word;
    button.setAttribute("aria-label", word + ": " + name);
  }

  function say(line, words, progress) {
    const now = performance.now();
    if (line.textContent === words || (progress && now - (spoken.get(line) || 0) < 10000)) return;
    spoken.set(line, now);
    line.textContent = words;
  }

  // list tells of the uploads that stopped, in the box for them, which stands before the template. ways
  // says what to do when one is used, and when it is gone. The focus stays on the button that it was on.
  function list(box, found, ways) {
    const on = box.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
    box.replaceChildren(...found.map((one) => note(one, box.nextElementSibling, ways(one))));
    box.hidden = found.length === 0;
    if (on === null) return;
    const same = [...box.querySelectorAll("button")].find((button) => button.getAttribute("aria-label") === on);
    (same || document.getElementById("file")).focus();
  }

  // note tells of an upload that stopped, with what can be done about it.
  function note(one, template, { use, gone }) {
    const shown = template.content.firstElementChild.cloneNode(true);
    const whole = one.state !== "receiving", percent = one.size ? Math.floor(100 * one.received / one.size) : 0;
    shown.querySelector("[data-words]").textContent = whole ? one.filename + " is here, sent before, and was not used."
      : "An upload of " + one.filename + " stopped at " + percent + " %. Choose the file again to go on.";
    const take = shown.querySelector("[data-use]"), discard = shown.querySelector("[data-discard]");
    take.hidden = !whole;
    take.setAttribute("aria-label", "Use it: " + one.filename);
    take.addEventListener("click", use);
    discard.setAttribute("aria-label", "Discard: " + one.filename);
    discard.addEventListener("click", () => {
      forget(one.id);
      remove(one.id);
      gone();
    });
    return shown;
  }

  // remove deletes what the server has; where that does not reach it, it expires.
  function remove(id) {
    return tus.Upload.terminate(endpoint + "/" + id, { retryDelays: delays.slice(0, 3) }).catch(() => {});
  }

  // drops lets files be dropped on a zone. One that misses it must not replace the page. Where zone
  // gives null, nothing is taken.
  function drops(zone, take) {
    for (const kind of ["dragover", "drop"]) {
      document.addEventListener(kind, (event) => {
        if (!event.dataTransfer || !event.dataTransfer.types.includes("Files")) return;
        event.preventDefault();
        const place = zone();
        if (!place) return;
        place.classList.toggle("over", kind === "dragover" && place.contains(event.target));
        if (kind === "drop" && event.dataTransfer.files.length > 0) take(event.dataTransfer.files);
      });
    }
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget && zone()) zone().classList.remove("over");
    });
  }

  return {
    size, refusal, kept, list, draw, hide, drops,
    send: (file, app, changed) => new Upload(file.name, file.size, changed).send(file, app),
    adopt: (known, changed) => new Upload(known.filename, known.size, changed).adopt(known.id),
  };
})();
