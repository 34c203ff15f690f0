/* Shows /openapi.json as a page. A file of its own, so that no page needs inline scripts. */
"use strict";

window.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  validatorUrl: null,
  persistAuthorization: false,
});
