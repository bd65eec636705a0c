package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

//go:embed static thirdparty/*.js thirdparty/*.css
var assetFiles embed.FS

// StaticPrefix is the path under which Static answers.
const StaticPrefix = "/static/"

// asset is one static file, ready to be sent.
type asset struct {
	url    string // with a digest of the content in it
	kind   string // media type
	plain  []byte
	packed func() []byte // gzip; made at the first request
}

// assetsByName finds assets as templates name them, assetsByURL as browsers ask for them.
type assetTable struct {
	byName, byURL map[string]*asset
}

var assets = sync.OnceValue(loadAssets)

// loadAssets reads every embedded file. It panics when one cannot be read: they are part of the
// binary.
func loadAssets() assetTable {
	table := assetTable{byName: map[string]*asset{}, byURL: map[string]*asset{}}
	err := fs.WalkDir(assetFiles, ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := assetFiles.ReadFile(file)
		if err != nil {
			return err
		}
		a := newAsset(path.Base(file), content)
		table.byName[path.Base(file)], table.byURL[a.url] = a, a
		return nil
	})
	if err != nil {
		panic(fmt.Errorf("embedded files: %w", err))
	}
	return table
}

func newAsset(name string, content []byte) *asset {
	sum := sha256.Sum256(content)
	ext := path.Ext(name)
	return &asset{
		url:   StaticPrefix + strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:6]) + ext,
		kind:  mime.TypeByExtension(ext),
		plain: content,
		packed: sync.OnceValue(func() []byte {
			var out bytes.Buffer
			w, _ := gzip.NewWriterLevel(&out, gzip.BestCompression) // the level is valid
			_, _ = w.Write(content)                                 // a buffer takes everything
			_ = w.Close()                                           // as above
			return out.Bytes()
		}),
	}
}

// assetURL is where a browser finds the named file. An unknown name is a mistake in a template,
// and ends its rendering.
func assetURL(name string) (string, error) {
	a, ok := assets().byName[name]
	if !ok {
		return "", fmt.Errorf("no static file %q", name)
	}
	return a.url, nil
}

// Static serves the static files to anyone. Their addresses change with their content, so
// browsers may keep them for good.
func Static(w http.ResponseWriter, r *http.Request) {
	a, ok := assets().byURL[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	body := a.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = a.packed()
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client is gone if this fails
	}
}
