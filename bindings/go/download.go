package antenv

import "context"

// Download describes a file that was downloaded.
type Download struct {
	// Path is where the file is, as it was given.
	Path string `json:"path"`
	// Bytes is the file's size.
	Bytes int64 `json:"bytes"`
	// ContentType is the content type that the server sent; "" when it sent none.
	ContentType string `json:"content_type"`
}

// download downloads an operation's response to a file.
func download(ctx context.Context, c *core, operation []byte, path string, s *settings) (*Download, error) {
	file, err := nulTerminated("path", path)
	if err != nil {
		return nil, err
	}
	return decoded[Download](c.call(ctx, submission{operation: operation, file: file}, s))
}
