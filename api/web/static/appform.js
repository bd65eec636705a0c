// The form for an app: time zones to choose from.
"use strict";
(() => {
  const zones = document.getElementById("zones"), field = document.getElementById("time_zone");
  if (Intl.supportedValuesOf) {
    for (const zone of ["UTC", ...Intl.supportedValuesOf("timeZone")]) {
      const option = document.createElement("option");
      option.value = zone;
      zones.append(option);
    }
  }
  if (field.value === "") field.value = "UTC";
})();
