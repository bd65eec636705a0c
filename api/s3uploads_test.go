package api_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"longhaul/api"
	"longhaul/storage"
	"longhaul/storage/files"
	"longhaul/storage/files/s3test"
)

const (
	s3Path = "/api/v1/uploads/s3"
	mib    = 1 << 20
)

// bucketSite is a server that keeps its files in a bucket.
type bucketSite struct {
	*server
	s3     *s3test.Server
	bucket string
	store  *files.Bucket
	client *s3.Client
	plain  *http.Client // to the bucket, with nothing but what was signed
}

func newBucketSite(t *testing.T, changes ...func(*config)) *bucketSite {
	t.Helper()
	b := &bucketSite{s3: s3test.Start(t)}
	b.bucket = b.s3.NewBucket(t)
	where, err := files.ParseBucketURL(b.s3.URL(b.bucket + "/long haul"))
	must(t, err)
	where.Credentials = credentials.NewStaticCredentialsProvider(b.s3.AccessKey, b.s3.SecretKey, "")
	b.store, err = files.OpenBucket(t.Context(), where)
	must(t, err)
	t.Cleanup(func() { must(t, b.store.Close()) })
	transport := &http.Transport{DisableKeepAlives: true}
	b.plain = &http.Client{Transport: transport}
	b.client = s3.New(s3.Options{
		BaseEndpoint: &b.s3.Endpoint, Region: b.s3.Region, UsePathStyle: true, Credentials: where.Credentials, HTTPClient: b.plain,
	})
	b.server = newServer(t, append(changes, func(c *config) { c.jobs.Files, c.api.Files = b.store, b.store })...)
	return b
}

// begin makes an upload that comes in parts.
func (b *bucketSite) begin(body object) api.S3Started {
	b.t.Helper()
	request := object{"filename": "extract.zip", "type": "application/zip"}
	maps.Copy(request, body)
	var started api.S3Started
	b.do(http.MethodPost, s3Path+"/multipart", request).want(http.StatusOK).into(&started)
	return started
}

// at is the address of something of an upload.
func at(u api.S3Started, rest string, query ...string) string {
	values := url.Values{"key": {u.Key}}
	for i := 0; i < len(query); i += 2 {
		values.Set(query[i], query[i+1])
	}
	return s3Path + "/multipart/" + u.UploadID + rest + "?" + values.Encode()
}

// sendPart sends a part as it is signed and returns what names it.
func (b *bucketSite) sendPart(u api.S3Started, number int, text string, query ...string) object {
	b.t.Helper()
	var signed api.S3Signed
	b.get(at(u, "/"+strconv.Itoa(number), query...)).want(http.StatusOK).into(&signed)
	resp := b.put(signed.URL, signed.Headers, text)
	if resp.StatusCode != http.StatusOK {
		b.t.Fatalf("part %d: %s", number, resp.Status)
	}
	return object{"PartNumber": number, "ETag": resp.Header.Get("ETag")}
}

func (b *bucketSite) put(address string, headers map[string]string, text string) *http.Response {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPut, address, strings.NewReader(text))
	must(b.t, err)
	for name, value := range headers {
		if name != "Content-Length" {
			req.Header.Set(name, value)
		}
	}
	resp, err := b.plain.Do(req)
	must(b.t, err)
	must(b.t, resp.Body.Close())
	return resp
}

func (b *bucketSite) complete(u api.S3Started, parts ...object) *answer {
	b.t.Helper()
	return b.do(http.MethodPost, at(u, "/complete"), object{"parts": parts})
}

// wantEmpty checks that nothing is left of uploads in the bucket.
func (b *bucketSite) wantEmpty() {
	b.t.Helper()
	objects, err := b.client.ListObjectsV2(b.t.Context(), &s3.ListObjectsV2Input{Bucket: &b.bucket})
	must(b.t, err)
	for _, o := range objects.Contents {
		b.t.Errorf("left in the bucket: %s", aws.ToString(o.Key))
	}
	uploads, err := b.client.ListMultipartUploads(b.t.Context(), &s3.ListMultipartUploadsInput{Bucket: &b.bucket})
	must(b.t, err)
	for _, u := range uploads.Uploads {
		b.t.Errorf("left in the bucket: parts of %s", aws.ToString(u.Key))
	}
}

// TestToBucket goes the whole way: the parts to the bucket, by a second device too, and a task of
// what was sent.
func TestToBucket(t *testing.T) {
	t.Parallel()
	b := newBucketSite(t)
	text := string(zipOf(t, entry{"importAccount.csv", accountCSV(20, 0)}, entry{"noise", noise(t, 6*mib)}))
	u := b.begin(object{"metadata": object{"app": "vision", "size": len(text), "sha256": hexSHA256(text), "x": nil, "n": 5}})
	if !strings.HasPrefix(u.Key, "long haul/") || !strings.HasSuffix(u.Key, "/"+u.UploadID) {
		t.Errorf("the key %s of the upload %s", u.Key, u.UploadID)
	}
	first := b.sendPart(u, 1, text[:5*mib])
	// Another device goes on from what the bucket has.
	var parts []api.S3Part
	b.get(at(u, "")).want(http.StatusOK).into(&parts)
	if len(parts) != 1 || parts[0].Size != 5*mib || parts[0].ETag != first["ETag"] {
		t.Fatalf("the parts: %+v, want one with the ETag %s", parts, first["ETag"])
	}
	if row := b.upload(uploadPath(u.UploadID)); row.Received != 5*mib || row.State != "receiving" || *row.App != "vision" {
		t.Errorf("while it comes: %+v", row)
	}
	var batch api.S3Batch
	b.get(at(u, "/batch", "partNumbers", "2,3")).want(http.StatusOK).into(&batch)
	b.put(batch.PresignedURLs["2"], nil, "something else") // and is sent again
	second := b.put(batch.PresignedURLs["2"], nil, text[5*mib:])
	named := []object{{"PartNumber": 1, "ETag": parts[0].ETag}, {"PartNumber": 2, "ETag": strings.Trim(second.Header.Get("ETag"), `"`)}}
	var done api.S3Completed
	b.complete(u, named...).want(http.StatusOK).into(&done)
	if done.Location != b.url+uploadPath(u.UploadID) {
		t.Errorf("the location %s", done.Location)
	}
	b.complete(u, named...).want(http.StatusOK) // its answer may have been lost
	row := b.finished(uploadPath(u.UploadID), "finished")
	if *row.SHA256 != hexSHA256(text) || row.Checked != int64(len(text)) || row.Filename != "extract.zip" || row.ContentType != "application/zip" {
		t.Errorf("the finished upload: %+v", row)
	}
	b.get(at(u, "/3")).problem(http.StatusConflict)
	task := b.create(object{"app": "vision", "name": "importAccount", "kind": "epm.importMetadata", "upload": u.UploadID}, nil)
	b.waitFinal(task.ID, "succeeded")
	if p := b.do(http.MethodDelete, at(u, ""), nil).problem(http.StatusConflict); !strings.Contains(p.Detail, task.ID) {
		t.Errorf("%q does not say what used it", p.Detail)
	}
	if n := b.count(`SELECT count(*) FROM audit WHERE object = $1 AND action IN ('upload.create', 'upload.finish') AND app = 'vision'`, u.UploadID); n != 2 {
		t.Errorf("%d lines in the audit trail", n)
	}
}

// What is not in the bucket as it was said to be is found when the upload is completed.
func TestToBucketIsVerified(t *testing.T) {
	t.Parallel()
	b := newBucketSite(t)
	text := noise(t, 10*mib)
	for name, test := range map[string]struct {
		size, first int
		named       func(first, second object) []object
		words       string
	}{
		"wrong size":   {10*mib + 1, 5 * mib, func(a, b object) []object { return []object{a, b} }, "announced"},
		"no parts":     {10 * mib, 5 * mib, func(object, object) []object { return []object{} }, "No parts"},
		"one left out": {10 * mib, 5 * mib, func(a, _ object) []object { return []object{a, {"PartNumber": 3, "ETag": "x"}} }, "without a gap"},
		"not there":    {10 * mib, 5 * mib, func(a, b object) []object { return []object{a, b, {"PartNumber": 3, "ETag": "x"}} }, "has no part 3"},
		"another ETag": {10 * mib, 5 * mib, func(a, _ object) []object {
			return []object{a, {"PartNumber": 2, "ETag": a["ETag"]}}
		}, "another ETag"},
		"small parts": {5*mib + 100, 100, func(a, b object) []object { return []object{a, b} }, "5242880"},
	} {
		t.Run(name, func(t *testing.T) {
			b := &bucketSite{b.in(t), b.s3, b.bucket, b.store, b.client, b.plain}
			u := b.begin(object{"size": test.size})
			parts := test.named(b.sendPart(u, 1, text[:test.first]), b.sendPart(u, 2, text[5*mib:]))
			if p := b.complete(u, parts...).problem(http.StatusConflict); !strings.Contains(p.Detail, test.words) {
				t.Errorf("%q does not hold %q", p.Detail, test.words)
			}
			if row := b.upload(uploadPath(u.UploadID)); row.State != "receiving" {
				t.Errorf("afterwards: %+v", row)
			}
			var nothing object
			b.do(http.MethodDelete, at(u, ""), nil).want(http.StatusOK).into(&nothing)
			b.do(http.MethodDelete, at(u, ""), nil).problem(http.StatusNotFound)
		})
	}
	b.wantEmpty()
	u := b.begin(object{"metadata": object{"sha256": hexSHA256("something else")}})
	b.complete(u, b.sendPart(u, 1, text)).want(http.StatusOK)
	if row := b.finished(uploadPath(u.UploadID), "failed"); !strings.Contains(row.Message, hexSHA256(text)) {
		t.Errorf("its message: %s", row.Message)
	}
}

// A part that was replaced after the upload was completed is not taken for the one that was there.
func TestToBucketReplacedPart(t *testing.T) {
	t.Parallel()
	b := newBucketSite(t, idle)
	u := b.begin(nil)
	var signed api.S3Signed
	b.get(at(u, "/1")).want(http.StatusOK).into(&signed)
	etag := b.put(signed.URL, nil, "some bytes").Header.Get("ETag")
	b.complete(u, object{"PartNumber": 1, "ETag": etag}).want(http.StatusOK)
	b.get(at(u, "/2")).want(http.StatusConflict).wantHeader("Retry-After", "1") // it is being checked
	b.put(signed.URL, nil, "other bytes")
	b.startEngine()
	if row := b.finished(uploadPath(u.UploadID), "failed"); !strings.Contains(row.Message, "replaced") {
		t.Errorf("its message: %s", row.Message)
	}
}

// Uploads are their owner's alone, whatever else is known of them.
func TestToBucketOwner(t *testing.T) {
	t.Parallel()
	b := newBucketSite(t, idle)
	u := b.begin(nil)
	other := b.person("other@example.com")
	b.member("plain", "person", other.login, "operator", true)
	viewer := b.person("viewer@example.com")
	b.member("plain", "person", viewer.login, "operator", false)
	for _, call := range []struct{ method, path string }{
		{http.MethodGet, at(u, "")},
		{http.MethodGet, at(u, "/1")},
		{http.MethodGet, at(u, "/batch", "partNumbers", "1")},
		{http.MethodPost, at(u, "/complete")},
		{http.MethodDelete, at(u, "")},
	} {
		var body any
		if call.method == http.MethodPost {
			body = object{"parts": []object{}}
		}
		b.do(call.method, call.path, body, "Authorization", "Bearer "+other.token).problem(http.StatusNotFound)
		b.do(call.method, strings.Replace(call.path, "key=", "key=x", 1), body).problem(http.StatusNotFound)
	}
	theirs := "Bearer " + viewer.token
	b.do(http.MethodPost, s3Path+"/multipart", object{"filename": "x", "metadata": object{"app": "plain"}}, "Authorization", theirs).problem(http.StatusForbidden)
	b.do(http.MethodPost, s3Path+"/multipart", object{"filename": "x", "metadata": object{"app": "vision"}}, "Authorization", theirs).wantField("metadata.app", "none")
	b.get(s3Path+"/params?filename=x&metadata%5Bapp%5D=plain", "Authorization", theirs).problem(http.StatusForbidden)
	cookie := b.sessionOf(viewer.id)
	b.get(s3Path+"/params?filename=x", "Authorization", "", "Cookie", "longhaul="+cookie, "Sec-Fetch-Site", "cross-site").problem(http.StatusForbidden)
	b.get(s3Path+"/params?filename=x", "Authorization", "", "Cookie", "longhaul="+cookie, "Sec-Fetch-Site", "same-origin").want(http.StatusOK)
	// By tus it cannot be gone on with, and can be deleted.
	b.tus(http.MethodHead, uploadPath(u.UploadID), nil).want(http.StatusConflict)
	b.send(uploadPath(u.UploadID), 0, "x").problem(http.StatusConflict)
	b.tus(http.MethodDelete, uploadPath(u.UploadID), nil).want(http.StatusNoContent)
	b.wantEmpty()
}

// A token signs for, completes and aborts only what is for its apps, and only what it may do there.
func TestToBucketByToken(t *testing.T) {
	t.Parallel()
	b := newBucketSite(t, idle)
	all := storage.View | storage.Operate | storage.Data
	u := b.begin(object{"metadata": object{"app": "plain"}})
	part := b.sendPart(u, 1, "bytes")
	form := b.form("/params?filename=x&metadata%5Bapp%5D=plain")
	b.sendForm(form, "some bytes").want(http.StatusCreated)
	for who, want := range map[string][2]int{ // to see it, and to change it
		b.tokenOf(storage.LocalAdmin, all, "vision"):                          {http.StatusNotFound, http.StatusNotFound},
		b.tokenOf(storage.LocalAdmin, storage.View, "vision"):                 {http.StatusNotFound, http.StatusForbidden},
		b.tokenOf(storage.LocalAdmin, storage.View, "plain"):                  {http.StatusOK, http.StatusForbidden},
		b.tokenOf(storage.LocalAdmin, storage.View|storage.Operate, "plain"):  {http.StatusOK, http.StatusForbidden},
		b.tokenOf(storage.LocalAdmin, storage.View|storage.Data, "plain"):     {http.StatusOK, http.StatusForbidden},
		b.tokenOf(storage.LocalAdmin, storage.Operate|storage.Data, "plain"):  {http.StatusNotFound, http.StatusForbidden},
		b.tokenOf(storage.LocalAdmin, storage.View|storage.Operate, "vision"): {http.StatusNotFound, http.StatusNotFound},
	} {
		auth := []string{"Authorization", "Bearer " + who}
		b.get(at(u, ""), auth...).want(want[0])
		b.get(uploadPath(form.id()), auth...).want(want[0])
		b.get(at(u, "/2"), auth...).want(want[1])
		b.get(at(u, "/batch", "partNumbers", "2"), auth...).want(want[1])
		b.do(http.MethodPost, at(u, "/complete"), object{"parts": []object{part}}, auth...).want(want[1])
		b.do(http.MethodDelete, at(u, ""), nil, auth...).want(want[1])
	}
	mine := "Bearer " + b.tokenOf(storage.LocalAdmin, all, "plain")
	b.get(at(u, "/2"), "Authorization", mine).want(http.StatusOK)
	b.do(http.MethodDelete, at(u, ""), nil, "Authorization", mine).want(http.StatusOK)
}

// A part that is bound to its length and its checksum takes no other bytes.
func TestToBucketChecksums(t *testing.T) {
	t.Parallel()
	b := newBucketSite(t)
	text := noise(t, 5*mib+100)
	crc := func(text string) string {
		return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli))))
	}
	sha := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return base64.StdEncoding.EncodeToString(sum[:])
	}
	for name, sum := range map[string]func(string) string{"crc32c": crc, "sha256": sha} {
		t.Run(name, func(t *testing.T) {
			b := &bucketSite{b.in(t), b.s3, b.bucket, b.store, b.client, b.plain}
			u := b.begin(object{"checksum": name, "size": len(text)})
			first := b.sendPart(u, 1, text[:5*mib], name, sum(text[:5*mib]), "length", strconv.Itoa(5*mib))
			var signed api.S3Signed
			b.get(at(u, "/2", name, sum(text[5*mib:]), "length", "100")).want(http.StatusOK).into(&signed)
			if signed.Headers["Content-Length"] != "100" || len(signed.Headers) != 2 || signed.Expires != 900 || signed.Method != http.MethodPut {
				t.Errorf("signed: %+v", signed)
			}
			wrong := []byte(text[5*mib:])
			wrong[7] ^= 1
			if resp := b.put(signed.URL, signed.Headers, string(wrong)); resp.StatusCode < 400 {
				t.Errorf("other bytes: %s", resp.Status)
			}
			if resp := b.put(signed.URL, signed.Headers, text[5*mib:]+"x"); resp.StatusCode < 400 {
				t.Errorf("more bytes: %s", resp.Status)
			}
			if resp := b.put(signed.URL, nil, text[5*mib:]); resp.StatusCode < 400 {
				t.Errorf("without the checksum: %s", resp.Status)
			}
			last := b.put(signed.URL, signed.Headers, text[5*mib:])
			b.get(at(u, "/3", "length", "1")).problem(http.StatusConflict)
			b.complete(u, first, object{"PartNumber": 2, "ETag": last.Header.Get("ETag")}).want(http.StatusOK)
			if row := b.finished(uploadPath(u.UploadID), "finished"); *row.SHA256 != hexSHA256(text) {
				t.Errorf("the finished upload: %+v", row)
			}
		})
	}
	u := b.begin(object{"checksum": "crc32c"})
	b.get(at(u, "/1")).problem(http.StatusConflict)
	b.get(at(u, "/1", "sha256", sha(""))).problem(http.StatusUnprocessableEntity)
	b.get(at(u, "/1", "crc32c", "no")).problem(http.StatusUnprocessableEntity)
	b.get(at(b.begin(nil), "/1", "crc32c", crc(""))).problem(http.StatusConflict)
}

// What is too much is refused as soon as that is known.
func TestToBucketLimits(t *testing.T) {
	t.Parallel()
	b := newBucketSite(t, idle, func(c *config) {
		c.api.MaxUpload = 20 * mib
		c.jobs.UploadQuota.Person = 12 * mib
	})
	b.do(http.MethodPost, s3Path+"/multipart", object{"filename": "x", "size": 21 * mib}).problem(http.StatusRequestEntityTooLarge)
	b.do(http.MethodPost, s3Path+"/multipart", object{"filename": "x", "size": 13 * mib}).problem(http.StatusRequestEntityTooLarge)
	b.wantEmpty()
	declared := b.begin(object{"size": 6 * mib})
	b.get(at(declared, "/1", "length", strconv.Itoa(6*mib+1))).problem(http.StatusRequestEntityTooLarge)
	b.sendPart(declared, 1, noise(t, 6*mib))
	b.get(at(declared, "/2")).problem(http.StatusRequestEntityTooLarge)
	open := b.begin(nil)
	var first api.S3Signed
	b.get(at(open, "/1")).want(http.StatusOK).into(&first)
	b.put(first.URL, nil, noise(t, 7*mib))
	b.get(at(open, "/2")).problem(http.StatusRequestEntityTooLarge) // 6 and 7 are more than 12
	b.do(http.MethodDelete, at(open, ""), nil).want(http.StatusOK)
	// A few ahead, and no more.
	ahead := b.begin(nil)
	b.get(at(ahead, "/16")).want(http.StatusOK)
	b.get(at(ahead, "/17")).problem(http.StatusConflict)
	b.get(at(ahead, "/0")).problem(http.StatusUnprocessableEntity)
	b.get(at(ahead, "/10001")).problem(http.StatusUnprocessableEntity)
	b.get(at(ahead, "/batch", "partNumbers", "0")).problem(http.StatusConflict)
	b.get(at(ahead, "/batch", "partNumbers", strings.Trim(strings.Repeat("1,", 17), ","))).problem(http.StatusConflict)
	b.do(http.MethodPost, s3Path+"/multipart", object{"filename": "x", "metadata": object{"size": "many"}}).wantField("metadata.size", "number")
	b.do(http.MethodPost, s3Path+"/multipart", object{"filename": "x", "metadata": object{"sha256": "x"}}).wantField("metadata.sha256", "64")
}

// What the bucket cannot hold is refused as too large, and is no fault of the server.
func TestTooLargeForBucket(t *testing.T) {
	t.Parallel()
	b := newBucketSite(t, idle)
	const large = "8796093022208" // bytes
	later := b.located(b.tus(http.MethodPost, uploadsPath, nil, "Upload-Defer-Length", "1").want(http.StatusCreated))
	for what, a := range map[string]*answer{
		"announced":      b.tus(http.MethodPost, uploadsPath, nil, "Upload-Length", large),
		"announced late": b.send(later, 0, "x", "Upload-Length", large),
	} {
		if p := a.problem(http.StatusRequestEntityTooLarge); !strings.Contains(p.Detail, "bucket") {
			t.Errorf("%s: %q does not say why", what, p.Detail)
		}
	}
	b.send(later, 0, "x", "Upload-Length", "1").want(http.StatusNoContent)
}

// Of what is found to be too much nothing stays, and the next upload finds no more room than this one.
func TestToBucketTooMuch(t *testing.T) {
	t.Parallel()
	b := newBucketSite(t, idle, func(c *config) {
		c.api.MaxUpload = 20 * mib
		c.jobs.UploadQuota.Person = 12 * mib
	})
	send := func(u api.S3Started, number, size int) object {
		return b.sendPart(u, number, noise(t, size))
	}
	for name, test := range map[string]struct {
		body object
		ask  func(u api.S3Started) *answer
	}{
		"by the quota": {nil, func(u api.S3Started) *answer {
			send(u, 1, 13*mib)
			return b.get(at(u, "/2"))
		}},
		"behind a gap": {nil, func(u api.S3Started) *answer {
			send(u, 2, 13*mib)
			return b.get(at(u, ""))
		}},
		"by the limit": {nil, func(u api.S3Started) *answer {
			send(u, 3, 21*mib)
			return b.get(at(u, "/batch", "partNumbers", "1,2"))
		}},
		"when complete, by the quota": {nil, func(u api.S3Started) *answer {
			return b.complete(u, send(u, 1, 13*mib))
		}},
		"when complete, by the limit": {nil, func(u api.S3Started) *answer {
			return b.complete(u, send(u, 1, 21*mib))
		}},
		"than announced": {object{"size": 5}, func(u api.S3Started) *answer {
			send(u, 1, 6)
			return b.get(at(u, ""))
		}},
		"than nothing": {object{"size": 0}, func(u api.S3Started) *answer {
			send(u, 1, 6)
			return b.get(at(u, "/1"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := &bucketSite{b.in(t), b.s3, b.bucket, b.store, b.client, b.plain}
			u := b.begin(test.body)
			test.ask(u).problem(http.StatusRequestEntityTooLarge)
			if row := b.upload(uploadPath(u.UploadID)); row.State != "failed" || row.Message == "" {
				t.Errorf("afterwards: %+v", row)
			}
			b.get(at(u, "/1")).problem(http.StatusConflict)
			b.wantEmpty()
		})
	}
	empty := b.begin(object{"size": 0})
	b.complete(empty, send(empty, 1, 0)).want(http.StatusOK)
	whole := b.begin(object{"size": 12 * mib}) // there is room for it
	b.do(http.MethodDelete, at(whole, ""), nil).want(http.StatusOK)
}

// What nobody completes is removed in its time, with its parts.
func TestToBucketExpires(t *testing.T) {
	t.Parallel()
	b := newBucketSite(t)
	u := b.begin(nil)
	b.sendPart(u, 1, "some bytes")
	form := b.form("/params?filename=x")
	late := b.form("/params?filename=y")
	b.sendForm(form, "some bytes").want(http.StatusCreated)
	b.exec(`UPDATE uploads SET expires_at = now() - interval '1 second' WHERE id = $1`, u.UploadID)
	b.exec(`UPDATE uploads SET created_at = now() - interval '2 hours' WHERE id <> $1`, u.UploadID)
	b.engine.SweepFiles(t.Context())
	b.get(uploadPath(u.UploadID)).problem(http.StatusNotFound)
	b.get(uploadPath(late.id())).problem(http.StatusNotFound)
	b.finished(uploadPath(form.id()), "finished") // by itself
	b.do(http.MethodDelete, uploadPath(form.id()), nil, "Tus-Resumable", "1.0.0").want(http.StatusNoContent)
	b.wantEmpty()
}

// signedForm is a form as it is signed.
type signedForm struct{ api.S3Form }

// id is the upload's.
func (f signedForm) id() string {
	return f.Fields["key"][strings.LastIndexByte(f.Fields["key"], '/')+1:]
}

func (b *bucketSite) form(path string) signedForm {
	b.t.Helper()
	var f signedForm
	b.get(s3Path + path).want(http.StatusOK).into(&f.S3Form)
	return f
}

func (b *bucketSite) sendForm(f signedForm, text string) *answer {
	b.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for name, value := range f.Fields {
		must(b.t, w.WriteField(name, value))
	}
	part, err := w.CreateFormFile("file", "blob")
	must(b.t, err)
	_, err = io.WriteString(part, text)
	must(b.t, err)
	must(b.t, w.Close())
	req, err := http.NewRequestWithContext(b.t.Context(), f.Method, f.URL, &body)
	must(b.t, err)
	req.Header.Set("Content-Type", w.FormDataContentType())
	resp, err := b.plain.Do(req)
	must(b.t, err)
	defer resp.Body.Close()
	answered, err := io.ReadAll(resp.Body)
	must(b.t, err)
	return &answer{t: b.t, asked: "POST to the bucket", status: resp.StatusCode, header: resp.Header, body: answered}
}

// A small file comes as a whole, and nobody has to say that it has.
func TestToBucketAsAWhole(t *testing.T) {
	t.Parallel()
	b := newBucketSite(t)
	text := string(accounts(t, 20, 0))
	form := b.form(fmt.Sprintf("/params?filename=a.zip&type=application%%2Fzip&metadata%%5Bapp%%5D=vision&metadata%%5Bsize%%5D=%d", len(text)))
	before := b.upload(uploadPath(form.id()))
	if before.State != "receiving" || before.Filename != "a.zip" || *before.App != "vision" || *before.Size != int64(len(text)) {
		t.Errorf("before: %+v", before)
	}
	b.sendForm(form, text+"x").want(http.StatusBadRequest)
	b.sendForm(form, text).want(http.StatusCreated)
	start := object{"app": "vision", "name": "importAccount", "kind": "epm.importMetadata", "upload": form.id()}
	b.eventually("the upload can be used", func() bool {
		a := b.do(http.MethodPost, "/api/v1/tasks", start)
		if a.status == http.StatusConflict {
			time.Sleep(20 * time.Millisecond)
			return false
		}
		b.waitFinal(a.want(http.StatusAccepted).task().ID, "succeeded")
		return true
	})
	if row := b.upload(uploadPath(form.id())); row.UsedBy == nil || *row.SHA256 != hexSHA256(text) {
		t.Errorf("the used upload: %+v", row)
	}
	// What is sent now changes nothing of what was looked at.
	b.sendForm(form, strings.Repeat("x", len(text)))
	b.get(at(api.S3Started{Key: form.Fields["key"], UploadID: form.id()}, "/1")).problem(http.StatusConflict)
}

// Where files are kept in a folder, the answer says what to do instead.
func TestToBucketWithoutBucket(t *testing.T) {
	t.Parallel()
	s := newServer(t, idle)
	if p := s.do(http.MethodPost, s3Path+"/multipart", object{"filename": "x"}).problem(http.StatusNotImplemented); !strings.Contains(p.Detail, "tus") {
		t.Errorf("%q does not say what to do", p.Detail)
	}
	s.get(s3Path + "/params?filename=x").problem(http.StatusNotImplemented)
	s.get(s3Path + "/multipart/" + s.uploadRow().String()).problem(http.StatusNotImplemented)
}
