// The form that starts a task: sends the archive as soon as it is chosen, gathers the parameters, and
// shows what the server refuses beside the field it is about.
"use strict";
(() => {
  const get = (id) => document.getElementById(id);
  const form = () => get("start");
  if (!form()) return;

  // ---- the archive ----

  let upload = null;   // the archive on its way, or there
  let armed = false;   // the task is to be started as soon as it is there
  let keptFor = "";    // the upload without which the stopped ones were listed
  let listed = 0;      // how often they were

  const fileField = () => get("file-field");
  const uploadApp = () => fileField().dataset.uploadApp;

  function showFile() {
    if (!fileField()) return;
    const chosen = get("file").files[0], name = upload ? upload.name + ", " + Uploads.size(upload.size) : chosen ? chosen.name : "";
    get("drop").classList.toggle("full", name !== "");
    get("file-chosen").hidden = name === "";
    get("file-chosen").textContent = name;
    get("file-hint").innerHTML = name ? "Drop another zip here to replace it" : "<strong>Drop a zip here</strong> or choose one";
    Uploads.draw(fileField().querySelector(".sending"), upload);
  }

  // take has the form go with what begin sends or takes up, or with nothing. What it had before stays
  // on the server, for another time: it may have taken hours.
  function take(begin) {
    if (upload) upload.leave();
    upload = begin ? begin() : null;
    if (upload) upload.app = uploadApp();
    if (upload && get("app-file")) get("app-file").value = "";
    showFile();
    showKept();
  }

  // takeFile sends what is chosen. An upload is of one app.
  function takeFile() {
    const file = get("file").files[0];
    take(file ? () => Uploads.send(file, uploadApp(), uploadChanged) : null);
  }

  // leaveFile empties the field, for a file of the app.
  function leaveFile() {
    take(null);
    get("file").value = "";
    showFile();
    disarm();
  }

  // dropFile removes what is on its way, or there: only who says so loses it.
  function dropFile() {
    upload.cancel();
    leaveFile();
    get("file").focus();
  }

  function uploadChanged(changed) {
    if (changed !== upload) return;
    showFile();
    if (upload.id !== keptFor) showKept();
    if (upload.state === "finished" && armed) start();
    if (upload.state !== "failed") return;
    const problem = { location: "file", message: upload.problem };
    if (armed) { disarm(); showProblems("The task was not started", [problem]); } else { clearProblem(get("file")); markProblem(fileField(), problem.message); }
  }

  // showKept lists what stopped, or was not used, when this browser last was here.
  async function showKept() {
    if (!fileField()) return;
    const turn = ++listed;
    keptFor = upload ? upload.id : "";
    const found = (await Uploads.kept(uploadApp())).filter((one) => /\.zip$/i.test(one.filename));
    if (turn !== listed || !fileField()) return;
    Uploads.list(fileField().querySelector("[data-kept]"), found, (one) => ({
      use: () => { get("file").focus(); take(() => Uploads.adopt(one, uploadChanged)); },
      gone: () => { get("file").focus(); showKept(); },
    }));
  }

  // The form may have been drawn anew: without a place for the archive, or for another app.
  function formChanged() {
    if (upload && !fileField()) {
      upload.leave();
      upload = null;
    } else if (upload && upload.app !== uploadApp()) {
      takeFile();
    }
    showFile();
    showKept();
  }

  Uploads.drops(() => armed || sending ? null : get("drop"), (files) => {
    get("file").files = files;
    get("file").dispatchEvent(new Event("change", { bubbles: true }));
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
    if (takenFile()) made.file = takenFile(); else if (upload) made.upload = upload.id;
    return made;
  }

  const takenFile = () => get("app-file") ? get("app-file").value : "";

  // ---- what is wrong ----

  const warning = document.createElement("template");
  warning.innerHTML = '<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d="M12 4 2.8 19.5h18.4z"/><path d="M12 10v4.5M12 17.2v.1"/></svg>';

  function fieldOf(location) {
    for (const field of form().querySelectorAll("[data-location]")) {
      const own = field.dataset.location;
      if (own === location || (field.dataset.also || "").split(" ").includes(location) || location.startsWith(own + ".") || location.startsWith(own + "[")) return field;
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
        if (input.id === "file" && (upload || takenFile())) continue;
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

  let sending = false; // the request is in hand
  let key = "";        // names this filling of the form: sent twice, it makes one task

  function newKey() {
    return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
  }

  function busy(words) {
    get("go").disabled = words !== "";
    get("go").setAttribute("aria-busy", String(words !== ""));
    get("go-state").textContent = words;
  }

  function disarm() {
    armed = false;
    busy("");
  }

  // go starts the task, or says that it is to start once the archive is there.
  function go() {
    if (sending || armed) return;
    const wrong = missing();
    if (wrong.length) {
      showProblems("The task was not started", wrong);
      return;
    }
    clearProblems();
    if (!upload && get("file") && get("file").files[0] && !takenFile()) takeFile();
    if (upload && upload.state !== "finished") {
      armed = true;
      busy("The task starts as soon as the archive is there.");
      if (upload.state === "paused" || upload.state === "failed") upload.resume();
      return;
    }
    start();
  }

  async function start() {
    armed = false;
    const wrong = missing(); // the form could be changed while the archive was on its way
    if (wrong.length) {
      busy("");
      showProblems("The task was not started", wrong);
      return;
    }
    sending = true;
    key = key || newKey();
    busy("Starting");
    let answer, text;
    try {
      answer = await fetch(get("go").dataset.url, {
        method: "POST", headers: { Accept: "application/json", "Content-Type": "application/json", "Idempotency-Key": key },
        body: JSON.stringify(task()),
      });
      text = await answer.text();
    } catch {
      sending = false;
      busy("");
      showProblems("The task was not started", [{ message: "The connection to the server broke off. Try again: what you chose is still here, and it cannot start twice." }]);
      return;
    }
    if (answer.status === 202) {
      if (upload) upload.used();
      location.assign("/tasks/" + JSON.parse(text).id);
      return; // and leave the button as it is: the page is about to change
    }
    sending = false;
    busy("");
    refused(answer.status, text);
  }

  function refused(status, text) {
    if (status === 401) {
      location.assign("/sign-in?next=" + encodeURIComponent(location.pathname + location.search));
      return;
    }
    let problem = {};
    try { problem = JSON.parse(text); } catch { /* not an answer of this server */ }
    const fields = problem.errors && problem.errors.length ? problem.errors : [{ message: Uploads.refusal(status, text) }];
    if (upload && fields.some((field) => fieldOf(field.location || "") === fileField())) { // it will not get better
      upload.cancel();
      upload = null;
      showFile();
    }
    showProblems("The task was not started", fields, status >= 500 && problem.request_id ? "Request " + problem.request_id : "");
  }

  document.addEventListener("submit", (event) => {
    if (event.target !== form()) return;
    event.preventDefault();
    if (get("go")) go();
  });
  document.addEventListener("change", (event) => {
    if (!event.target.closest("#start")) return;
    if (!sending) key = ""; // another filling, another task
    clearProblem(event.target);
    if (event.target.id === "file") takeFile();
    if (event.target.id === "app-file" && event.target.value !== "" && upload) leaveFile();
    if (event.target.id === "params-job") nameLikeJob(event.target);
  });
  document.addEventListener("input", (event) => {
    if (!event.target.closest("#start")) return;
    if (!sending) key = "";
    if (event.target.id === "params-job") nameLikeJob(event.target);
    clearProblem(event.target);
  });
  document.addEventListener("click", (event) => {
    if (upload && event.target.closest("#file-field [data-toggle]")) {
      clearProblem(get("file"));
      upload.toggle();
    }
    if (upload && event.target.closest("#file-field [data-cancel]")) dropFile();
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
  // Coming back to the form by the browser's Back finds it ready.
  window.addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    sending = false;
    disarm();
  });
  document.addEventListener("htmx:afterSwap", formChanged);
  document.addEventListener("htmx:beforeRequest", (event) => { if ((sending || armed) && event.target.closest("#start")) event.preventDefault(); });
  formChanged();
  if (fileField() && get("file").files[0]) takeFile(); // chosen before this script was there
})();
