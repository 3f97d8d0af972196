package antenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// Download describes a file that was downloaded.
type Download struct {
	// Path is where the file is, as it was given.
	Path string `json:"path"`
	// Bytes is the file's size.
	Bytes int64 `json:"bytes"`
	// ContentType is the content type that the server sent; "" when it sent none.
	ContentType string `json:"content_type"`
}

// download downloads an operation's response to a file. The library cannot cancel a download: one whose context is done goes on in a folder
// that is gone.
func download(ctx context.Context, c *core, operation []byte, path string, s *settings) (*Download, error) {
	name := submission{operation: operation}.name()
	if ctx.Err() != nil {
		return nil, contextError(ctx, name)
	}
	params, err := s.nulTerminated()
	if err != nil {
		return nil, err
	}
	to := func(path string) (*Download, error) {
		defer runtime.KeepAlive(c)
		text, err := nulTerminated("path", path)
		if err != nil {
			return nil, err
		}
		status, text := downloadTo(c.handle, operation, params, text)
		if status != StatusOK {
			return nil, s.fail(status, text)
		}
		result := &Download{}
		return result, json.Unmarshal(text, result)
	}
	if ctx.Done() == nil {
		return to(path)
	}
	folder, err := os.MkdirTemp(filepath.Dir(path), ".antenv-*")
	if err != nil {
		return to(path) // which reports what is wrong with the path
	}
	type outcome struct {
		result *Download
		err    error
	}
	ended := make(chan outcome, 1)
	file := filepath.Join(folder, filepath.Base(path))
	go func() {
		result, err := to(file)
		ended <- outcome{result, err}
		if ctx.Err() != nil {
			_ = os.RemoveAll(folder)
		}
	}()
	defer os.RemoveAll(folder)
	select {
	case <-ctx.Done():
		return nil, contextError(ctx, name)
	case done := <-ended:
		if done.err != nil {
			return nil, done.err
		}
		if err := os.Rename(file, path); err != nil {
			return nil, unwritable(err)
		}
		done.result.Path = path
		return done.result, nil
	}
}

// unwritable returns the error of a file that cannot be written.
func unwritable(err error) error {
	var link *os.LinkError
	if errors.As(err, &link) {
		err = link.Err // without the folder's name, which the caller does not know
	}
	return &Error{Status: StatusInvalidArgument, Message: fmt.Sprintf("`path` cannot be written: %v", err), Parameter: "path"}
}
