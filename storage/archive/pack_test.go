package archive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// someFiles are files to pack, and their names in order.
func someFiles() (fstest.MapFS, []string) {
	noise := make([]byte, 2*outBytes+11)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise) // never fails
	return fstest.MapFS{
		"importEntity.csv":   {Data: []byte(strings.Repeat("Entity,Parent\nE_1,Total\n", 50_000))},
		"Übersicht/März.csv": {Data: []byte("Konto;Wert\n")},
		"empty":              {},
		"charts.xlsx":        {Data: noise},
		"noise.csv":          {Data: noise},
	}, []string{"importEntity.csv", "Übersicht/März.csv", "empty", "charts.xlsx", "noise.csv"}
}

// sources are files of fsys.
func sources(fsys fs.FS, names ...string) []Source {
	var list []Source
	for _, name := range names {
		list = append(list, Source{Name: name, Open: func(context.Context) (io.ReadCloser, error) { return fsys.Open(name) }})
	}
	return list
}

func pack(t testing.TB, files fs.FS, names []string, opts PackOptions) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := Pack(t.Context(), &buf, sources(files, names...), opts); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestPackAndExtract(t *testing.T) {
	t.Parallel()
	files, names := someFiles()
	when := time.Date(2026, 3, 5, 10, 20, 30, 0, time.UTC)
	var total, packed int64
	zip := pack(t, files, names, PackOptions{Modified: when, Progress: func(done int64) { packed = done }})

	listing, err := check(t, zip, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range listing.Files {
		got = append(got, f.Name)
		total += f.Size
		if !f.Modified.Equal(when) {
			t.Errorf("%s is of %v, want %v", f.Name, f.Modified, when)
		}
	}
	if diff := cmp.Diff(names, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if packed != total {
		t.Errorf("progress ended at %d of %d bytes", packed, total)
	}
	compareWithStdlib(t, "packed", zip, Limits{})

	dir, err := extract(t, zip, Limits{}, ExtractOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]string)
	for name, f := range files {
		want[name] = string(f.Data)
	}
	if diff := cmp.Diff(want, contents(t, dir)); diff != "" {
		t.Error("files differ after packing and unpacking")
	}
}

func TestPackIsTheSameEachTime(t *testing.T) {
	t.Parallel()
	files, names := someFiles()
	want := pack(t, files, names, PackOptions{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			// What the writers packed before must not show.
			other := fstest.MapFS{"x": {Data: []byte(strings.Repeat("E_1,Total\n", 10_000*i))}}
			pack(t, other, []string{"x"}, PackOptions{})
			if !bytes.Equal(pack(t, files, names, PackOptions{}), want) {
				t.Error("the same files gave another archive")
			}
		})
	}
	wg.Wait()
}

// TestPackForJava checks what Java's ZipInputStream needs: it refuses entries that
// are stored and have their sizes behind the data.
func TestPackForJava(t *testing.T) {
	t.Parallel()
	files, names := someFiles()
	listing, err := check(t, pack(t, files, names, PackOptions{}), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range listing.Files {
		if f.method != methodDeflate {
			t.Errorf("%s has method %d", f.Name, f.method)
		}
		if f.Name == "charts.xlsx" && f.CompressedSize > f.Size+f.Size/1000+64 {
			t.Errorf("%s of %d bytes takes %d", f.Name, f.Size, f.CompressedSize)
		}
	}
}

func TestPackErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := errors.Join(
		os.Mkdir(filepath.Join(dir, "folder"), 0o700),
		os.WriteFile(filepath.Join(dir, "a"), []byte("a"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	root := os.DirFS(dir)
	for _, name := range []string{"missing", "folder"} {
		if err := Pack(t.Context(), io.Discard, sources(root, "a", name), PackOptions{}); err == nil {
			t.Errorf("packed %q", name)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Pack(cancelled, io.Discard, sources(root, "a"), PackOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	r, w := io.Pipe()
	gone := errors.New("client went away")
	_ = r.CloseWithError(gone) // never fails
	if err := Pack(t.Context(), w, sources(root, "a"), PackOptions{}); !errors.Is(err, gone) {
		t.Errorf("got %v, want %v", err, gone)
	}
}
