// The files of an app: sends what is chosen, one after the other, and makes files of it.
"use strict";
(() => {
  const form = document.getElementById("upload");
  if (!form) return;
  const app = form.dataset.app, folder = document.getElementById("folder"), list = document.getElementById("uploads");
  const address = "/api/v1/apps/" + encodeURIComponent(app) + "/files";

  // Row is one file on its way. settled says that the next one may go.
  class Row {
    upload = null;
    known = ""; // the upload's id, as it was when the stopped ones were listed
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
      this.shown.querySelector(".sending").hidden = true;
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
      this.shown.querySelector(".sending").hidden = true;
      this.settle();
    }

    again() {
      this.tell("");
      this.part("ask").hidden = true;
      if (this.upload) this.make(); else this.begin();
    }

    tell(problem) {
      const line = this.part("problem");
      line.querySelector("span").textContent = problem;
      line.hidden = problem === "";
    }

    leave() {
      if (this.upload) this.upload.cancel();
      this.shown.remove();
      this.settle();
      document.getElementById("file").focus();
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

  async function showKept() {
    const box = form.querySelector("[data-kept]"), found = await Uploads.kept(app);
    box.replaceChildren(...found.map((one) => Uploads.note(one, form, {
      use: () => { add(new Row(one.filename, (changed) => Uploads.adopt(one, changed))); showKept(); },
      gone: () => { showKept(); document.getElementById("file").focus(); },
    })));
    box.hidden = found.length === 0;
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
