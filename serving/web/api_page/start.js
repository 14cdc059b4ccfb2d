// Shows the description of this server's API. All addresses are relative: the page works under a path of a proxy.
(async () => {
  const here = new URL(".", document.baseURI).href;
  const spec = await (await fetch("openapi.json")).json();
  spec.servers = [{ url: here.replace(/\/$/, "") }];
  window.SwaggerUIBundle({ spec, domNode: document.getElementById("api"), deepLinking: true });
})();
