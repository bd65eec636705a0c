package files

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Trial is something that was tried on a store.
type Trial struct {
	// What was tried, and the right in a bucket that it needs.
	What string
	Err  error
}

// probeBytes is what a probe writes.
const probeBytes = 64 << 10

// Probe tries all that is asked of the bucket, on files of its own that it removes again, and
// returns what came of each. drift is by how much the bucket's clock is ahead of ours; zero where it
// does not tell.
func (b *Bucket) Probe(ctx context.Context) (trials []Trial, drift time.Duration) {
	folder := "longhaul-doctor-" + strings.ToLower(rand.Text())
	p := &probe{b: b, ctx: ctx, folder: folder, key: folder + "/file", text: make([]byte, probeBytes)}
	_, _ = rand.Read(p.text) // never fails
	p.try("write a file (s3:PutObject)", p.write(p.key))
	p.try("read it (s3:GetObject)", p.read(p.key))
	p.try("list it (s3:ListBucket)", p.list())
	p.try("copy it (s3:GetObject, s3:PutObject)", b.Copy(ctx, p.key, p.key+"-copy"))
	p.try("write in parts (s3:PutObject)", p.parts())
	p.try("abort parts (s3:AbortMultipartUpload)", p.abort())
	p.try("read by a signed address", p.signedGet())
	p.try("write by a signed form", p.signedForm())
	p.try("remove files (s3:DeleteObject)", p.remove())
	return p.trials, p.drift
}

type probe struct {
	b      *Bucket
	ctx    context.Context //nolint:containedctx // of one call of Probe
	folder string          // of all that it writes
	key    string
	text   []byte
	trials []Trial
	drift  time.Duration
}

func (p *probe) try(what string, err error) { p.trials = append(p.trials, Trial{what, err}) }

func (p *probe) write(key string) error {
	w, err := p.b.Create(p.ctx, key)
	if err != nil {
		return err
	}
	defer w.Abort() //nolint:errcheck // it has no errors
	if _, err := w.Write(p.text); err != nil {
		return err
	}
	_, err = w.Commit()
	return err
}

func (p *probe) read(key string) error {
	file, err := p.b.Open(p.ctx, key)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // read only
	got, err := io.ReadAll(file)
	return errors.Join(err, p.same(got))
}

// same holds bytes against what was written.
func (p *probe) same(got []byte) error {
	if !bytes.Equal(got, p.text) {
		return fmt.Errorf("%w: what is read is not what was written", ErrDamaged)
	}
	return nil
}

func (p *probe) list() error {
	for info, err := range p.b.List(p.ctx, p.folder) {
		if err != nil {
			return err
		}
		if info.Key == p.key {
			return nil
		}
	}
	return errors.New("the file that was written is not in the list")
}

// direct begins a file in parts, sends the first by a signed request, and sees whether it is there.
func (p *probe) direct(key string) (Growth, error) {
	g := Growth{Key: key, Direct: &Direct{}}
	var err error
	if g.UploadID, err = p.b.StartParts(p.ctx, key, ""); err != nil {
		return g, err
	}
	signed, err := p.b.SignPart(p.ctx, g, PartOrder{Number: 1, Length: probeBytes})
	if err == nil {
		_, err = p.send(http.MethodPut, signed.URL, "", bytes.NewReader(p.text))
	}
	if err == nil {
		g.Direct.Parts, err = p.b.Parts(p.ctx, g, 0)
	}
	if err == nil && len(g.Direct.Parts) != 1 {
		err = errors.New("the part that was sent is not listed")
	}
	g.Size = probeBytes
	return g, err
}

func (p *probe) parts() error {
	g, err := p.direct(p.key + "-parts")
	if err == nil {
		err = p.b.Finish(p.ctx, g)
	}
	if err != nil {
		return errors.Join(err, p.dropBegun(g))
	}
	return p.read(g.Key)
}

// dropBegun removes what was begun; what was not begun needs no word.
func (p *probe) dropBegun(g Growth) error {
	if g.UploadID == "" {
		return nil
	}
	return p.b.Drop(p.ctx, g)
}

func (p *probe) abort() error {
	g, err := p.direct(p.key + "-aborted")
	if err != nil {
		return errors.Join(err, p.dropBegun(g))
	}
	if err := p.b.Drop(p.ctx, g); err != nil {
		return err
	}
	if parts, err := p.b.Parts(p.ctx, g, 0); err == nil && len(parts) > 0 {
		return errors.New("the parts are there still")
	}
	return nil
}

func (p *probe) signedGet() error {
	address, err := p.b.PresignGet(p.ctx, p.key, `attachment; filename="a file.bin"`, "application/octet-stream", time.Minute)
	if err != nil {
		return err
	}
	got, err := p.send(http.MethodGet, address, "", nil)
	return errors.Join(err, p.same(got))
}

func (p *probe) signedForm() error {
	g := Growth{Key: p.key, Direct: &Direct{From: p.key + "-form"}}
	signed, err := p.b.SignForm(p.ctx, g, probeBytes, true)
	if err != nil {
		return err
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for name, value := range signed.Fields {
		_ = form.WriteField(name, value) // into memory
	}
	file, err := form.CreateFormFile("file", "file")
	if err != nil {
		return err
	}
	_, _ = file.Write(p.text) // into memory
	if err := form.Close(); err != nil {
		return err
	}
	if _, err = p.send(http.MethodPost, signed.URL, form.FormDataContentType(), &body); err != nil {
		return err
	}
	return p.read(g.Direct.From)
}

// send sends a request that is signed by its address or its body, and nothing else.
func (p *probe) send(method, address, contentType string, body io.Reader) ([]byte, error) {
	req, err := http.NewRequestWithContext(p.ctx, method, address, body)
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	sent := time.Now()
	resp, err := p.b.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be reached: %w", p.b.where(), withoutAddress(err))
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		p.drift = date.Sub(sent.Add(time.Since(sent) / 2)).Round(time.Second)
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("%s says: %s", p.b.where(), resp.Status)
	}
	return answer, err
}

// withoutAddress leaves a signed address out of an error.
func withoutAddress(err error) error {
	if about, ok := errors.AsType[*url.Error](err); ok {
		return about.Err
	}
	return err
}

// remove removes all that was written, also when the context has ended: by one request each, and by
// one for the rest.
func (p *probe) remove() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), cleanTimeout)
	defer cancel()
	err := errors.Join(p.b.Remove(ctx, p.key), p.b.RemoveAll(ctx, p.folder))
	for info, listErr := range p.b.List(ctx, p.folder) {
		if err == nil && listErr == nil {
			err = fmt.Errorf("%s is there still", info.Key)
		}
	}
	return err
}
