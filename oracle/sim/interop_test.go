package sim_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"longhaul/oracle/sim"
)

const (
	first  = "/interop/rest/11.1.2.3.600/applicationsnapshots"
	second = "/interop/rest/v1/applicationsnapshots"
)

// files returns the list of files as name to size; snapshots have none.
func (c *client) files() map[string]string {
	c.t.Helper()
	sizes := map[string]string{}
	for _, item := range items(c.get("/interop/rest/v2/files/list")) {
		size, _ := item["size"].(string)
		sizes[item["name"].(string)] = size
	}
	return sizes
}

func (c *client) upload(path string, body []byte) answer {
	c.t.Helper()
	return c.do(http.MethodPost, path, body, map[string]string{"Content-Type": "application/octet-stream"})
}

// wantEnvelope fails unless an interop answer has HTTP 200, a status and
// details with text.
func (c *client) wantEnvelope(got answer, status int, text string) {
	c.t.Helper()
	details, _ := got.body["details"].(string)
	if got.status != http.StatusOK || number(got.body["status"]) != status || !strings.Contains(details, text) {
		c.t.Fatalf("got %d %s, want status %d and details with %q", got.status, got.raw, status, text)
	}
}

func TestListOfFiles(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.put("a.csv", []byte("12345"))
	for _, path := range []string{"/interop/rest/v2/files/list", first, second} {
		list := items(c.get(path))
		if len(list) != 2 || list[0]["name"] != "Artifact Snapshot" || list[0]["type"] != "LCM" || list[0]["size"] != nil || list[0]["lastmodifiedtime"] != nil {
			t.Fatalf("%s: %v", path, list)
		}
		if list[1]["type"] != "EXTERNAL" || list[1]["size"] != "5" || list[1]["lastmodifiedtime"] != "1795251600000" {
			t.Errorf("%s: %v", path, list[1])
		}
	}
	c.do(http.MethodDelete, first+"/Artifact%20Snapshot", nil, nil)
	c.do(http.MethodDelete, first+"/a.csv", nil, nil)
	if got := c.get("/interop/rest/v2/files/list"); !bytes.Contains(got.raw, []byte(`"items":null`)) {
		t.Errorf("no files: %s", got.raw)
	}
}

func TestSingleUpload(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.wantEnvelope(c.upload(first+"/a%20b.csv/contents", []byte("one")), 0, "")
	c.wantEnvelope(c.upload(first+"/a%20b.csv/contents", []byte("two")), 1, "already exists")
	c.wantEnvelope(c.upload(first+"/x.csv/contents?extDirPath=inbox", []byte("three")), 0, "")
	c.wantEnvelope(c.upload(first+"/inbox%5Cx.csv/contents", nil), 1, "File inbox/x.csv already exists")
	c.wantEnvelope(c.upload(first+"/y.csv/contents?q="+url.QueryEscape(`{chunkSize:5,isFirst:true,isLast:true,"extDirPath":"inbox/sub"}`), []byte("whole")), 0, "")
	if got := c.files(); got["a b.csv"] != "3" || got["inbox/x.csv"] != "5" || got["inbox/sub/y.csv"] != "5" {
		t.Errorf("files: %v", got)
	}
	c.wantEnvelope(c.upload(first+"/..%2Fescape/contents", nil), 1, "Invalid file")
	c.wantEnvelope(c.upload(first+"/x/contents?extDirPath=..", nil), 1, "Invalid folder")
	c.wantEnvelope(c.upload(first+"/x/contents?q=%5B", nil), 1, "Invalid q")
}

func TestOldUploadInPieces(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for i, piece := range []string{"ab", "cd", "ef"} {
		q := fmt.Sprintf("{isFirst:%t,isLast:%t,chunkSize:2}", i == 0, i == 2)
		c.wantEnvelope(c.upload(first+"/p.txt/contents?q="+url.QueryEscape(q), []byte(piece)), 0, "")
	}
	if got := c.stored("p.txt"); string(got) != "abcdef" {
		t.Errorf("stored %q", got)
	}
}

// chunk sends one request of a v1 upload.
func (c *client) chunk(name, q string, body []byte) answer {
	c.t.Helper()
	return c.upload(second+"/"+name+"/contents?q="+url.QueryEscape(q), body)
}

func chunkQ(start, end, total, number int) string {
	return fmt.Sprintf(`{"isFirst":false,"isLast":false,"chunkSize":%d,"fileSize":"%d","startRange":"%d","endRange":"%d","chunkNo":%d}`,
		end-start+1, total, start, end, number)
}

func TestChunkedUpload(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*sim.Config){"tidy": func(*sim.Config) {}, "odd": odd(4)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, change)
			content := bytes.Repeat([]byte("0123456789"), 300_000) // larger than stays in memory
			total := len(content)
			begin := fmt.Sprintf(`{"isFirst":true,"chunkSize":14,"fileSize":"%d","isLast":false}`, total)
			end := fmt.Sprintf(`{"isFirst":false,"chunkSize":14,"fileSize":"%d","isLast":true}`, total)
			c.wantEnvelope(c.chunk("big.bin", begin, nil), 0, "")
			half := total / 2
			c.wantEnvelope(c.chunk("big.bin", chunkQ(half, total-1, total, 2), content[half:]), 1, "0 bytes have arrived")
			c.wantEnvelope(c.chunk("big.bin", chunkQ(0, half-1, total, 1), content[:half-1]), 1, "differ")
			c.wantEnvelope(c.chunk("big.bin", chunkQ(0, half-1, total, 1), content[:half]), 0, "")
			c.wantEnvelope(c.chunk("big.bin", chunkQ(0, half-1, total, 1), content[:half]), 1, "bytes have arrived")
			c.wantEnvelope(c.chunk("big.bin", chunkQ(half, total, total, 2), content[half-1:]), 1, "behind fileSize")
			c.wantEnvelope(c.chunk("big.bin", chunkQ(half, total-1, total, 2), content[half:]), 0, "")
			if _, listed := c.files()["big.bin"]; listed {
				t.Error("the file is listed before the upload has ended")
			}
			c.wantEnvelope(c.chunk("big.bin", end, nil), 0, "")
			if got := c.stored("big.bin"); !bytes.Equal(got, content) {
				t.Errorf("%d bytes stored, or others", len(got))
			}
			c.wantEnvelope(c.chunk("big.bin", begin, nil), 1, "already exists")
			c.wantEnvelope(c.chunk("other.bin", chunkQ(0, 0, 1, 1), []byte("x")), 1, "not been initialised")
			c.wantEnvelope(c.chunk("other.bin", `{"isFirst":true}`, nil), 1, "Invalid q")
			c.wantEnvelope(c.chunk("other.bin", `{"isFirst":true,"chunkSize":14,"fileSize":"5","isLast":false}`, nil), 0, "")
			c.wantEnvelope(c.chunk("other.bin", `{"isFirst":false,"chunkSize":14,"fileSize":"5","isLast":false}`, []byte("x")), 1, "no startRange")
			c.wantEnvelope(c.chunk("other.bin", `{"isFirst":false,"chunkSize":14,"fileSize":"5","isLast":true}`, nil), 1, "0 of 5 bytes")
		})
	}
}

func TestAnInitialisedUploadBeginsAgain(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	begin := `{"isFirst":true,"chunkSize":14,"fileSize":"4","isLast":false}`
	c.wantEnvelope(c.chunk("a.bin", begin, nil), 0, "")
	c.wantEnvelope(c.chunk("a.bin", chunkQ(0, 1, 4, 1), []byte("xx")), 0, "")
	c.wantEnvelope(c.chunk("a.bin", begin, nil), 0, "")
	c.wantEnvelope(c.chunk("a.bin", chunkQ(0, 3, 4, 1), []byte("good")), 0, "")
	c.wantEnvelope(c.chunk("a.bin", `{"isFirst":false,"chunkSize":14,"fileSize":"4","isLast":true}`, nil), 0, "")
	if got := c.stored("a.bin"); string(got) != "good" {
		t.Errorf("stored %q", got)
	}
}

func TestUploadOfASnapshotIsUnpacked(t *testing.T) {
	t.Parallel()
	snapshot := archive(t, "Export.xml", "<x/>", "Import.xml", "<x/>", "HP-Vision/a.xml", "<a/>")
	c := newClient(t)
	got := c.upload(first+"/Backup.zip/contents", snapshot)
	c.wantEnvelope(got, -1, "")
	status := c.wantLink(got, "Job Status")
	if status != first+"/Backup.zip/contents/status" {
		t.Errorf("status: %s", status)
	}
	c.wantEnvelope(c.get(status), -1, "")
	c.wantEnvelope(c.get(status), -1, "")
	c.advance(time.Minute)
	c.wantEnvelope(c.get(status), 0, "")
	if size, listed := c.files()["Backup"]; !listed || size != "" {
		t.Errorf("files: %v", c.files())
	}
	c.wantEnvelope(c.upload(first+"/Backup.zip/contents", snapshot), 1, "already exists")
	c.wantEnvelope(c.get(first+"/none.zip/contents/status"), 1, "Invalid file")

	total := len(snapshot)
	c.chunk("Other.zip", fmt.Sprintf(`{"isFirst":true,"chunkSize":14,"fileSize":"%d","isLast":false}`, total), nil)
	c.chunk("Other.zip", chunkQ(0, total-1, total, 1), snapshot)
	got = c.chunk("Other.zip", fmt.Sprintf(`{"isFirst":false,"chunkSize":14,"fileSize":"%d","isLast":true}`, total), nil)
	c.wantEnvelope(got, -1, "")
	status = c.wantLink(got, "Job Status")
	if !strings.HasPrefix(status, "/interop/rest/v1/services/jobs/") || len(strings.TrimPrefix(status, "/interop/rest/v1/services/jobs/")) != 16 {
		t.Errorf("status: %s", status)
	}
	c.advance(time.Minute)
	c.wantEnvelope(c.get(status), -1, "")
	c.wantEnvelope(c.get(status), 0, "")
	c.wantEnvelope(c.get("/interop/rest/v1/services/jobs/1"), 1, "Invalid job")
}

func TestV2Upload(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	create := func(name string) answer {
		return c.send(http.MethodPost, "/interop/rest/v2/files/upload", map[string]any{"fileName": name, "fileSize": "6"})
	}
	got := create("v2.bin")
	c.wantEnvelope(got, 0, "")
	pieces, complete := c.wantLink(got, "upload"), c.wantLink(got, "complete")
	for _, piece := range []string{"abc", "def"} {
		c.wantEnvelope(c.do(http.MethodPatch, pieces, []byte(piece), nil), 0, "")
	}
	got = c.do(http.MethodPost, complete, nil, nil)
	c.wantEnvelope(got, -1, "")
	status := c.wantLink(got, "Job Status")
	c.wantEnvelope(c.get(status), -1, "")
	c.wantEnvelope(c.get(status), 0, "")
	if got := c.stored("v2.bin"); string(got) != "abcdef" {
		t.Errorf("stored %q", got)
	}
	c.wantEnvelope(create("v2.bin"), 1, "already exists")
	c.wantEnvelope(create("../x"), 1, "Invalid file")
	c.wantEnvelope(c.do(http.MethodPatch, pieces, []byte("more"), nil), 1, "Invalid upload")
	c.wantEnvelope(c.do(http.MethodPost, complete, nil, nil), 1, "Invalid upload")
	short := c.wantLink(create("short.bin"), "complete")
	c.wantEnvelope(c.do(http.MethodPost, short, nil, nil), 1, "0 of 6 bytes")
	if got := c.do(http.MethodPost, "/interop/rest/v2/files/upload", []byte("{"), nil); got.status != http.StatusBadRequest {
		t.Errorf("half of JSON: %d", got.status)
	}
}

func TestTheEnvironmentRunsOutOfSpace(t *testing.T) {
	t.Parallel()
	c := newClient(t, func(cfg *sim.Config) { cfg.MaxBytes = 3 << 20 })
	c.wantEnvelope(c.upload(first+"/a.bin/contents", make([]byte, 2<<20)), 0, "")
	c.wantEnvelope(c.upload(first+"/b.bin/contents", make([]byte, 2<<20)), 1, "out of space")
	c.wantEnvelope(c.do(http.MethodDelete, first+"/a.bin", nil, nil), 0, "")
	c.wantEnvelope(c.upload(first+"/b.bin/contents", make([]byte, 2<<20)), 0, "")
	c.wantEnvelope(c.upload(first+"/c.bin/contents", make([]byte, 1000)), 0, "")
}

func TestSnapshotInformation(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	got := c.get(first + "/Artifact%20Snapshot")
	item := items(got)[0]
	if item["type"] != "LCM" || item["canexport"] != true || item["candownload"] != true || c.link(got.body, "download") != first+"/Artifact%20Snapshot/contents" {
		t.Errorf("snapshot: %s", got.raw)
	}
	c.put("inbox/x.csv", nil)
	if item := items(c.get(first + "/inbox%5Cx.csv"))[0]; item["canexport"] != false || item["name"] != "inbox/x.csv" {
		t.Errorf("file: %v", item)
	}
	c.wantEnvelope(c.get(first+"/none"), 1, "Invalid file : none")
}

func TestSingleDownload(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.put("inbox/x.csv", []byte("content"))
	got := c.get(first + "/inbox%5Cx.csv/contents")
	if string(got.raw) != "content" || got.header.Get("Content-Type") != "application/octet-stream" || got.header.Get("fileExtension") != "csv" || got.header.Get("Content-Length") != "7" {
		t.Errorf("%v %q", got.header, got.raw)
	}
	if got := c.get(first + "/Artifact%20Snapshot/contents"); got.header.Get("fileExtension") != "zip" || len(unpackNames(t, got.raw)) != 3 {
		t.Errorf("snapshot: %v", got.header)
	}
	c.wantEnvelope(c.get(first+"/none/contents"), 1, "Invalid file : none")
}

func unpackNames(t *testing.T, packed []byte) []string {
	t.Helper()
	var names []string
	for name := range unpack(t, packed) {
		names = append(names, name)
	}
	return names
}

func TestTwoStepDownload(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*sim.Config){"tidy": func(*sim.Config) {}, "odd": odd(2)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, change)
			c.put("out.zip", []byte("0123456789"))
			got := c.get(second + "/out.zip/contents")
			c.wantEnvelope(got, -1, "")
			status := c.wantLink(got, "Job Status")
			c.advance(time.Hour)
			c.wantEnvelope(c.get(status), -1, "")
			got = c.get(status)
			c.wantEnvelope(got, 0, "")
			link := c.wantLink(got, "Download link")
			whole := c.get(link)
			if string(whole.raw) != "0123456789" || whole.header.Get("fileExtension") != "zip" {
				t.Errorf("whole: %v %q", whole.header, whole.raw)
			}
			part := c.do(http.MethodGet, link, nil, map[string]string{"Range": "bytes=3-5"})
			if part.status != http.StatusPartialContent || string(part.raw) != "345" || part.header.Get("Content-Range") != "bytes 3-5/10" {
				t.Errorf("part: %d %v %q", part.status, part.header, part.raw)
			}
			if beyond := c.do(http.MethodGet, link, nil, map[string]string{"Range": "bytes=20-"}); beyond.status != http.StatusRequestedRangeNotSatisfiable {
				t.Errorf("beyond: %d", beyond.status)
			}
			done := c.do(http.MethodGet, link+"?q="+url.QueryEscape("{download:complete}"), nil, map[string]string{"Range": "bytes=0-5"})
			if done.status != http.StatusPartialContent || len(done.raw) != 0 {
				t.Errorf("complete: %d %q", done.status, done.raw)
			}
			c.wantEnvelope(c.get(link), 1, "Invalid download")
			c.wantEnvelope(c.get(status), 1, "Invalid download")
		})
	}
}

func TestDownloadLinkOfANameMayComeAtOnce(t *testing.T) {
	t.Parallel()
	c := newClient(t, odd(1))
	atOnce := 0
	for i := range 40 {
		name := fmt.Sprintf("f%d.csv", i)
		c.put(name, []byte(name))
		got := c.get(second + "/" + name + "/contents")
		if link := c.link(got.body, "Download link"); link != "" {
			atOnce++
			if part := c.get(link); string(part.raw) != name {
				t.Errorf("%s: %q", name, part.raw)
			}
		}
	}
	if atOnce == 0 || atOnce == 40 {
		t.Errorf("%d of 40 at once", atOnce)
	}
}

func TestV2Download(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	start := func(name string) answer {
		return c.send(http.MethodPost, "/interop/rest/v2/files/download", map[string]any{"fileName": name})
	}
	got := start("Artifact Snapshot")
	c.wantEnvelope(got, -1, "")
	status := c.wantLink(got, "Job Status")
	if !strings.HasPrefix(status, "/interop/rest/v2/status/download/") {
		t.Errorf("status: %s", status)
	}
	c.wantEnvelope(c.get(status), -1, "")
	c.wantEnvelope(c.get(status), -1, "") // it is not ready yet
	early := "/interop/rest/v2/files/download/" + strings.TrimPrefix(status, "/interop/rest/v2/status/download/")
	c.wantEnvelope(c.get(early), 1, "Invalid download")
	c.advance(time.Minute)
	link := c.wantLink(c.get(status), "Download link")
	if got := c.get(link); got.header.Get("fileExtension") != "zip" || len(unpackNames(t, got.raw)) != 3 {
		t.Errorf("bytes: %v", got.header)
	}
	c.wantEnvelope(c.do(http.MethodDelete, link, nil, nil), 0, "")
	c.wantEnvelope(c.do(http.MethodDelete, link, nil, nil), 1, "Invalid download")
	c.wantEnvelope(start("none"), 1, "Invalid file : none")
	c.wantEnvelope(start(""), 1, "Invalid file")
}

func TestThreeWaysToDelete(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for _, deleteFile := range []func(name string) answer{
		func(name string) answer {
			return c.do(http.MethodDelete, first+"/"+url.PathEscape(name), nil, nil)
		},
		func(name string) answer {
			return c.send(http.MethodDelete, "/interop/rest/v2/files/delete", map[string]any{"fileName": name})
		},
		func(name string) answer {
			return c.send(http.MethodPost, "/interop/rest/v3/files/delete", map[string]any{"fileName": strings.ReplaceAll(name, "/", `\`)})
		},
	} {
		c.put("inbox/x.csv", []byte("x"))
		c.wantEnvelope(deleteFile("inbox/x.csv"), 0, "")
		if _, listed := c.files()["inbox/x.csv"]; listed {
			t.Error("the file is still listed")
		}
		c.wantEnvelope(deleteFile("inbox/x.csv"), 1, "File not found")
	}
	if got := c.do(http.MethodPost, "/interop/rest/v3/files/delete", []byte("x"), nil); got.status != http.StatusBadRequest {
		t.Errorf("no JSON: %d", got.status)
	}
}

func TestDailyMaintenanceTimes(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	old := c.get("/interop/rest/v1/services/dailymaintenance")
	if item := items(old)[0]; old.body["status"] != "0" || item["amwTime"] != "02" || item["buildVersion"] != "26.11.52" {
		t.Errorf("v1: %s", old.raw)
	}
	plain := items(c.get("/interop/rest/v2/maintenance/getdailymaintenancestarttime"))[0]
	zoned := items(c.get("/interop/rest/v2/maintenance/getdailymaintenancestarttime?showTimeZone=true"))[0]
	if plain["amwTime"] != "02:00" || plain["timeZone"] != nil || zoned["timeZone"] != "Etc/UTC" {
		t.Errorf("v2: %v %v", plain, zoned)
	}
}

func TestOutputReplacesAFileOfTheSameName(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.put("exportAccount.zip", []byte("old"))
	c.wantState(c.run("EXPORT_METADATA", "exportAccount", nil), 0, "successful")
	if size := c.files()["exportAccount.zip"]; size == "3" || size == "" {
		t.Errorf("size %s", size)
	}
	if n, err := strconv.Atoi(c.files()["exportAccount.zip"]); err != nil || n < 100 {
		t.Errorf("size: %v", c.files())
	}
}
