package epm

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"longhaul/oracle"
)

// File is one entry of an environment's repository.
type File struct {
	// Name is the whole path, such as "inbox/a.csv"; most have no folder.
	Name string
	// Snapshot is true for an unpacked migration snapshot (type LCM), false
	// for a file (EXTERNAL).
	Snapshot bool
	// Size in bytes, -1 where not told (snapshots).
	Size int64
	// ModifiedAt is zero where not told.
	ModifiedAt time.Time
}

// ListFiles calls List Files, v2 (prest/list_files_v2) or, where that does not
// exist, the first generation (prest/list_files). It has no paging or filter.
func (c *Client) ListFiles(ctx context.Context) ([]File, error) {
	call := oracle.Call{Op: "list files", Method: http.MethodGet, Path: interop + "/v2/files/list"}
	e, err := c.interop(ctx, call)
	if absent(err) {
		call.Path = firstGeneration
		e, err = c.interop(ctx, call)
	}
	if err != nil {
		return nil, err
	}
	list, err := items[fileItem](c, call, e.Items)
	files := make([]File, 0, len(list))
	for _, i := range list {
		files = append(files, i.file())
	}
	return files, err
}

type fileItem struct {
	Name     oracle.Text   `json:"name"`
	Type     oracle.Text   `json:"type"`
	Size     oracle.Number `json:"size"`
	Modified oracle.Number `json:"lastmodifiedtime"` // ms since 1970
}

func (i fileItem) file() File {
	f := File{Name: string(i.Name), Snapshot: strings.EqualFold(string(i.Type), "LCM"), Size: -1}
	if i.Size.Valid {
		f.Size = i.Size.N
	}
	if i.Modified.Valid {
		f.ModifiedAt = time.UnixMilli(i.Modified.N).UTC()
	}
	return f
}

// Exists reports whether a file of exactly this name is in the list.
func (c *Client) Exists(ctx context.Context, name string) (bool, error) {
	files, err := c.ListFiles(ctx)
	return slices.ContainsFunc(files, func(f File) bool { return f.Name == name }), err
}

// DeleteFile calls Delete Files, v3 (prest/delete_files_v3) or, where that does
// not exist, the first generation (prest/delete_files). A file that is not
// there gives an error of [oracle.KindNotFound], which one who only wants it
// gone takes for success. It is sent once; repeating it does no harm.
func (c *Client) DeleteFile(ctx context.Context, name string) error {
	call := oracle.Call{
		Op:     fmt.Sprintf("delete file %q", name),
		Method: http.MethodPost,
		Path:   interop + "/v3/files/delete",
		JSON:   map[string]string{"fileName": name},
	}
	_, err := c.interop(ctx, call)
	if absent(err) {
		call.Method, call.Path, call.JSON = http.MethodDelete, firstGeneration+"/"+oracle.Segment(name), nil
		_, err = c.interop(ctx, call)
	}
	return asNotFound(err)
}
