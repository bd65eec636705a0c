// Sends a file with tus-js-client and prints what came of it, as one line of JSON. Its only argument
// is JSON too: where tus-js-client is (module), the file, options of the client's, and after how
// many bytes to give up (until).
import { createReadStream } from "node:fs";
import { PassThrough } from "node:stream";
import { pathToFileURL } from "node:url";

const { module, file, options, until } = JSON.parse(process.argv[2]);
const { Upload } = await import(pathToFileURL(module));

let source = createReadStream(file);
if (options.uploadLengthDeferred) source = source.pipe(new PassThrough()); // whose size nobody can know
const told = { url: "", resumed_at: 0, requests: 0 };
const end = () => {
  told.url = upload.url;
  console.log(JSON.stringify(told));
  process.exit(0);
};
const upload = new Upload(source, {
  ...options,
  retryDelays: null, // nothing is to go wrong
  onAfterResponse: (req, res) => {
    told.requests++;
    if (req.getMethod() === "HEAD") told.resumed_at = Number(res.getHeader("Upload-Offset"));
  },
  onProgress: async (sent) => {
    if (!until || sent <= until) return;
    await upload.abort();
    end();
  },
  onSuccess: end,
  onError: (err) => {
    console.error(String(err));
    process.exit(1);
  },
});
upload.start();
