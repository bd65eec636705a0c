// The form that starts a task: gathers the parameters, sends the archive with its progress, and
// shows what the server refuses beside the field it is about.
"use strict";
(() => {
  const get = (id) => document.getElementById(id);
  const form = () => get("start");
  if (!form()) return;

  // ---- the archive ----

  const units = ["B", "kB", "MB", "GB", "TB"];
  function size(n) {
    let unit = 0;
    while (n >= 1000 && unit < units.length - 1) { n /= 1000; unit++; }
    return (unit === 0 ? n : n.toFixed(1)) + " " + units[unit];
  }

  function showFile() {
    const input = get("file");
    if (!input) return;
    const file = input.files[0];
    get("drop").classList.toggle("full", Boolean(file));
    get("file-chosen").hidden = !file;
    get("file-chosen").textContent = file ? file.name + ", " + size(file.size) : "";
    get("file-hint").innerHTML = file ? "Drop another zip here to replace it" : "<strong>Drop a zip here</strong> or choose one";
  }

  // A file that misses the zone must not replace the page.
  for (const kind of ["dragover", "drop"]) {
    document.addEventListener(kind, (event) => {
      if (!event.dataTransfer || !event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      const zone = get("drop");
      if (zone) zone.classList.toggle("over", kind === "dragover" && zone.contains(event.target));
      if (kind !== "drop" || !zone || sending || event.dataTransfer.files.length === 0) return;
      get("file").files = event.dataTransfer.files;
      get("file").dispatchEvent(new Event("change", { bubbles: true }));
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget && get("drop")) get("drop").classList.remove("over");
  });

  // ---- the fields ----

  // A task is named like its job until someone names it otherwise.
  function nameLikeJob(job) {
    const name = get("name");
    if (!name || (name.value !== "" && name.value !== name.dataset.auto)) return;
    name.value = name.dataset.auto = job.value.replace(/[\/\\:*?"<>|]/g, "-").slice(0, 100);
    clearProblem(name);
  }

  function value(control) {
    switch (control.dataset.control) {
      case "yesno": {
        const chosen = control.querySelector("input:checked");
        return chosen && chosen.value !== "" ? chosen.value === "true" : undefined;
      }
      case "check": return control.checked;
      case "number": return control.value === "" ? undefined : Number(control.value);
      case "json": return control.value.trim() === "" ? undefined : JSON.parse(control.value);
      case "map": {
        const pairs = [...control.querySelectorAll(".pair")].map((p) => [...p.querySelectorAll("input")].map((i) => i.value));
        const named = pairs.filter(([name]) => name.trim() !== "");
        return named.length ? Object.fromEntries(named) : undefined;
      }
    }
    return control.value === "" ? undefined : control.value;
  }

  function task() {
    const params = {};
    for (const control of form().querySelectorAll("[data-param]")) {
      const v = value(control);
      if (v !== undefined) params[control.dataset.param] = v;
    }
    const made = { app: get("app").value, kind: get("kind").value, name: get("name").value.trim(), params };
    const most = get("max_rejected");
    if (most && most.value !== "") made.max_rejected = Number(most.value);
    return made;
  }

  // ---- what is wrong ----

  const warning = document.createElement("template");
  warning.innerHTML = '<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d="M12 4 2.8 19.5h18.4z"/><path d="M12 10v4.5M12 17.2v.1"/></svg>';

  function fieldOf(location) {
    for (const field of form().querySelectorAll("[data-location]")) {
      const own = field.dataset.location;
      if (own === location || field.dataset.also === location || location.startsWith(own + ".") || location.startsWith(own + "[")) return field;
    }
    return null;
  }

  const control = (field) => field.querySelector("input:not([type=hidden]), select, textarea");

  function labelOf(field) {
    const label = field.querySelector("legend, .label, label");
    return label ? label.firstChild.textContent.trim() : "";
  }

  function markProblem(field, text) {
    field.classList.add("bad");
    const note = document.createElement("p");
    note.className = "error";
    const words = document.createElement("span");
    words.textContent = text.charAt(0).toUpperCase() + text.slice(1);
    note.append(warning.content.cloneNode(true), words);
    field.append(note);
    const input = control(field);
    note.id = (input.id || field.dataset.location) + "-error";
    input.setAttribute("aria-invalid", "true");
    input.setAttribute("aria-describedby", [input.getAttribute("aria-describedby"), note.id].filter(Boolean).join(" "));
    const options = field.closest("details");
    if (options) options.open = true;
  }

  function clearProblem(input) {
    const field = input.closest(".field.bad");
    if (!field) return;
    field.classList.remove("bad");
    for (const note of field.querySelectorAll(":scope > .error")) {
      for (const described of field.querySelectorAll("[aria-describedby]")) {
        const rest = described.getAttribute("aria-describedby").split(" ").filter((id) => id !== note.id);
        if (rest.length) described.setAttribute("aria-describedby", rest.join(" ")); else described.removeAttribute("aria-describedby");
        described.removeAttribute("aria-invalid");
      }
      note.remove();
    }
  }

  function clearProblems() {
    for (const field of form().querySelectorAll(".field.bad")) clearProblem(control(field));
    get("problems").hidden = true;
    get("problems").replaceChildren();
  }

  // problems is a list of {location, message}; what belongs to no field is told in the summary.
  function showProblems(title, problems, also) {
    clearProblems();
    const box = get("problems"), head = document.createElement("h2"), list = document.createElement("ul");
    head.append(warning.content.cloneNode(true), title);
    for (const problem of problems) {
      const item = document.createElement("li"), field = fieldOf(problem.location || "");
      if (field) {
        markProblem(field, problem.message);
        const link = document.createElement("a");
        link.href = "#" + control(field).id;
        link.textContent = labelOf(field) + ": " + problem.message;
        link.addEventListener("click", (event) => { event.preventDefault(); control(field).focus(); });
        item.append(link);
      } else {
        item.textContent = problem.message;
      }
      list.append(item);
    }
    box.append(head, list);
    if (also) {
      const more = document.createElement("p");
      more.className = "sub";
      more.textContent = also;
      box.append(more);
    }
    box.hidden = false;
    box.focus();
  }

  function missing() {
    const found = [];
    for (const field of form().querySelectorAll("[data-location]")) {
      for (const input of field.querySelectorAll("input, select, textarea")) {
        if (input.closest("template") || input.disabled) continue;
        if (input.required && input.value === "") {
          found.push({ location: field.dataset.location, message: input.type === "file" ? "choose a file" : input.tagName === "SELECT" ? "choose one" : "write one" });
          break;
        }
        if (!input.checkValidity()) {
          found.push({ location: field.dataset.location, message: input.validationMessage });
          break;
        }
      }
      const json = field.querySelector("[data-control=json]");
      if (json) {
        try { value(json); } catch { found.push({ location: field.dataset.location, message: "is not JSON" }); }
      }
    }
    return found;
  }

  // ---- sending ----

  let sending = null; // the request in hand
  let key = "";       // names this filling of the form: sent twice, it makes one task

  function newKey() {
    return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
  }

  function duration(seconds) {
    if (seconds < 60) return Math.max(1, Math.round(seconds)) + " s";
    if (seconds < 3600) return Math.round(seconds / 60) + " min";
    return (seconds / 3600).toFixed(1) + " h";
  }

  // meter words how far an upload is, with the speed of the last seconds.
  function meter(total) {
    const marks = [];
    return (sent) => {
      const now = performance.now();
      marks.push([now, sent]);
      while (marks.length > 2 && now - marks[0][0] > 5000) marks.shift();
      const percent = total ? Math.floor(100 * sent / total) : 0;
      get("sent").value = percent;
      if (sent >= total) {
        get("sent-words").textContent = "Sent. The server checks the archive…";
        return;
      }
      const [began, before] = marks[0], speed = (sent - before) / Math.max((now - began) / 1000, 0.001);
      let words = percent + " %, " + size(sent) + " of " + size(total);
      if (now - began > 500 && speed > 0) words += ", " + size(speed) + "/s, about " + duration((total - sent) / speed) + " left";
      get("sent-words").textContent = words;
    };
  }

  function busy(on, withFile) {
    get("go").disabled = on;
    get("go").setAttribute("aria-busy", String(on));
    get("sending").hidden = !(on && withFile);
    get("sending-state").textContent = on ? (withFile ? "Sending the archive" : "Starting") : "";
  }

  function refused(request) {
    busy(false);
    if (request.status === 401) {
      location.assign("/sign-in?next=" + encodeURIComponent(location.pathname + location.search));
      return;
    }
    let problem = {};
    try { problem = JSON.parse(request.responseText); } catch { /* not an answer of this server */ }
    const fields = problem.errors && problem.errors.length ? problem.errors
      : [{ message: problem.detail || "The server answered " + request.status + ". Try again." }];
    showProblems("The task was not started", fields, request.status >= 500 && problem.request_id ? "Request " + problem.request_id : "");
  }

  function send() {
    if (sending) return;
    const wrong = missing();
    if (wrong.length) {
      showProblems("The task was not started", wrong);
      return;
    }
    clearProblems();
    key = key || newKey();
    const file = get("file") && get("file").files[0];
    const parts = new FormData();
    parts.append("task", new Blob([JSON.stringify(task())], { type: "application/json" }));
    if (file) parts.append("file", file, file.name);

    const request = sending = new XMLHttpRequest();
    request.open("POST", get("go").dataset.url);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("Idempotency-Key", key);
    const show = meter(file ? file.size : 0);
    request.upload.addEventListener("progress", (event) => show(Math.min(event.loaded, file ? file.size : 0)));
    request.addEventListener("load", () => {
      if (request.status === 202) {
        location.assign("/tasks/" + JSON.parse(request.responseText).id);
        return; // and leave the button as it is: the page is about to change
      }
      sending = null;
      refused(request);
    });
    request.addEventListener("error", () => {
      sending = null;
      busy(false);
      showProblems("The task was not started", [{ message: "The connection to the server broke off. Try again: what you chose is still here, and it cannot start twice." }]);
    });
    request.addEventListener("abort", () => {
      sending = null;
      busy(false);
      showProblems("The upload was stopped", [{ message: "Nothing was started, and the server kept nothing of the file." }]);
    });
    busy(true, Boolean(file));
    if (file) show(0);
    request.send(parts);
  }

  document.addEventListener("submit", (event) => {
    if (event.target !== form()) return;
    event.preventDefault();
    if (get("go")) send();
  });
  document.addEventListener("change", (event) => {
    if (!event.target.closest("#start")) return;
    if (!sending) key = ""; // another filling, another task
    if (event.target.id === "file") showFile();
    if (event.target.id === "params-job") nameLikeJob(event.target);
    clearProblem(event.target);
  });
  document.addEventListener("input", (event) => {
    if (!event.target.closest("#start")) return;
    if (!sending) key = "";
    if (event.target.id === "params-job") nameLikeJob(event.target);
    clearProblem(event.target);
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("#stop") && sending) sending.abort();
    const add = event.target.closest("[data-add]"), remove = event.target.closest("[data-remove]");
    if (add) {
      const box = add.parentElement;
      add.before(box.querySelector("template").content.cloneNode(true));
      add.previousElementSibling.querySelector("input").focus();
    }
    if (remove) {
      const pair = remove.closest(".pair"), next = pair.parentElement.querySelector("[data-add]");
      pair.remove();
      next.focus();
    }
  });
  window.addEventListener("beforeunload", (event) => { if (sending && sending.readyState < 4 && get("file") && get("file").files[0]) event.preventDefault(); });
  // Coming back to the form by the browser's Back finds it ready.
  window.addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    sending = null;
    busy(false);
  });
  document.addEventListener("htmx:afterSwap", showFile);
  document.addEventListener("htmx:beforeRequest", (event) => { if (sending && event.target.closest("#start")) event.preventDefault(); });
  showFile();
})();
