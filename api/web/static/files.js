// The files of an app: sends what is chosen, one after the other, and makes files of it.
"use strict";
(() => {
  const form = document.getElementById("upload");
  if (!form) return;
  const app = form.dataset.app, folder = document.getElementById("folder"), list = document.getElementById("uploads");
  const address = "/api/v1/apps/" + encodeURIComponent(app) + "/files";
  const wanted = new Set(); // the stopped uploads that rows are made of
  let listed = 0;           // how often the stopped ones were

  // Row is one file on its way. settled says that the next one may go.
  class Row {
    upload = null;
    known = ""; // the upload's id, as it was when the stopped ones were listed
    of = "";    // the stopped upload that it is made of
    replace = false;

    constructor(name, begin) {
      const into = folder.value.trim().replace(/^\/+|\/+$/g, "");
      this.path = into ? into + "/" + name : name;
      this.begin = () => { this.upload = begin((upload) => this.changed(upload)); this.changed(this.upload); };
      this.settled = new Promise((done) => { this.settle = done; });
      this.shown = document.getElementById("upload-one").content.firstElementChild.cloneNode(true);
      this.part("name").textContent = this.path;
      this.part("toggle").addEventListener("click", () => { this.tell(""); this.upload.toggle(); });
      this.part("cancel").addEventListener("click", () => this.leave());
      this.part("leave").addEventListener("click", () => this.leave());
      this.part("again").addEventListener("click", () => this.again());
      list.append(this.shown);
    }

    part(name) { return this.shown.querySelector("[data-" + name + "]"); }

    async run() {
      if (await this.taken()) this.clash(); else this.begin();
    }

    // taken says whether there is such a file. Where that cannot be asked, it shows in the end.
    async taken() {
      try {
        return (await fetch(address + "/" + this.path.split("/").map(encodeURIComponent).join("/"), { method: "HEAD" })).ok;
      } catch {
        return false;
      }
    }

    changed(upload) {
      if (upload !== this.upload) return;
      Uploads.draw(this.shown.querySelector(".sending"), upload);
      if (upload.id !== this.known) {
        this.known = upload.id;
        if (!form.querySelector("[data-kept]").hidden) showKept();
      }
      if (upload.state === "failed") {
        this.tell(upload.problem);
        this.settle();
      }
      if (upload.state === "finished" && !this.making) this.make();
    }

    // make makes a file of what has come.
    async make() {
      this.making = true;
      let answer, text = "";
      try {
        answer = await fetch(address, {
          method: "POST", headers: { Accept: "application/json", "Content-Type": "application/json", ...(this.replace ? {} : { "If-None-Match": "*" }) },
          body: JSON.stringify({ path: this.path, upload: this.upload.id }),
        });
        text = await answer.text();
      } catch { /* told below */ }
      if (answer && (answer.ok || (answer.status === 409 && await this.made()))) {
        this.upload.used();
        this.done();
      } else if (answer && answer.status === 412) {
        this.clash();
      } else {
        this.ask(answer ? Uploads.refusal(answer.status, text) : "The connection to the server broke off.", "Try again");
      }
      this.making = false;
    }

    // made says whether the file was made before, and the answer to that was lost.
    async made() {
      try {
        return await this.upload.usedBy() === app + "/" + this.path.normalize("NFC");
      } catch {
        return false;
      }
    }

    done() {
      const line = this.part("done");
      line.querySelector("span").textContent = "It is here, " + Uploads.size(this.upload.size) + ".";
      line.hidden = false;
      Uploads.hide(this.shown.querySelector(".sending"), this.shown);
      this.settle();
      htmx.trigger("#files", "refresh");
    }

    clash() {
      this.replace = true;
      this.ask("There is a file of this name already.", "Replace it");
    }

    ask(problem, again) {
      this.tell(problem);
      this.part("again").textContent = again;
      this.part("again").setAttribute("aria-label", again + ": " + this.path);
      this.part("leave").setAttribute("aria-label", "Leave it: " + this.path);
      this.part("ask").hidden = false;
      Uploads.hide(this.shown.querySelector(".sending"), this.part("again"));
      this.settle();
    }

    again() {
      const sent = this.upload !== null;
      this.tell("");
      if (sent) Uploads.draw(this.shown.querySelector(".sending"), this.upload); else this.begin();
      Uploads.hide(this.part("ask"), this.part("cancel"));
      if (sent) this.make();
    }

    tell(problem) {
      const line = this.part("problem");
      line.querySelector("span").textContent = problem;
      line.hidden = problem === "";
    }

    leave() {
      if (this.upload) this.upload.cancel();
      wanted.delete(this.of);
      this.shown.remove();
      this.settle();
      input.focus();
      showKept();
    }
  }

  // One goes after the other: together they would not be faster.
  let last = Promise.resolve();
  function add(row) {
    last = last.then(() => row.shown.isConnected && row.run().then(() => row.settled));
  }

  function take(files) {
    for (const file of files) add(new Row(file.name, (changed) => Uploads.send(file, app, changed)));
  }

  // use has a file made of one that was sent before.
  function use(one) {
    const row = new Row(one.filename, (changed) => Uploads.adopt(one, changed));
    row.of = one.id;
    wanted.add(one.id);
    row.shown.focus();
    add(row);
    showKept();
  }

  async function showKept() {
    const turn = ++listed, found = (await Uploads.kept(app)).filter((one) => !wanted.has(one.id));
    if (turn !== listed) return;
    Uploads.list(form.querySelector("[data-kept]"), found, (one) => ({
      use: () => use(one),
      gone: () => { input.focus(); showKept(); },
    }));
  }

  const input = document.getElementById("file");
  function takeChosen() {
    const chosen = [...input.files];
    input.value = ""; // the same one may be chosen again
    take(chosen);
  }
  input.addEventListener("change", takeChosen);
  Uploads.drops(() => document.getElementById("drop"), take);
  form.addEventListener("submit", (event) => event.preventDefault());
  showKept();
  takeChosen(); // before this script was there
})();
