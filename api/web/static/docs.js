// The page to read and try the API: Swagger UI on this server's own description.
"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const shade = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  shade();
  dark.addEventListener("change", shade);
  SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#docs",
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    validatorUrl: null,
    displayRequestDuration: true,
  });
})();
