// The members of an app: a row offers to be saved once something in it was changed.
"use strict";
(() => {
  const changed = (control) => control.tagName === "SELECT"
    ? [...control.options].some((option) => option.selected !== option.defaultSelected)
    : control.checked !== control.defaultChecked;

  const show = (form) =>
    form.classList.toggle("unchanged", ![...form.elements].some((e) => e.matches("select, [type=checkbox]") && changed(e)));

  for (const form of document.querySelectorAll("[data-member]")) show(form);
  document.addEventListener("change", (event) => {
    const form = event.target.form;
    if (form && form.hasAttribute("data-member")) show(form);
  });
})();
