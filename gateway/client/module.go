package client

import (
	"context"
	"errors"
	"io"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
)

// moduleChunk is how much of a module goes in one message.
const moduleChunk = 256 << 10

// UploadModule brings the file of the module that a filed product pins. It need not be
// signed: the product, which is, names its digest.
func (c *Client) UploadModule(ctx context.Context, product string, file io.Reader) (*sandgatev1.UploadModuleResponse, error) {
	stream, err := c.Model.UploadModule(ctx)
	if err != nil {
		return nil, err
	}
	next := &sandgatev1.UploadModuleRequest{Product: product}
	buf := make([]byte, moduleChunk)
	for {
		n, rerr := io.ReadFull(file, buf)
		next.Chunk = buf[:n]
		if n > 0 || next.Product != "" {
			if err := stream.Send(next); err != nil {
				break // the gateway has answered
			}
		}
		next = &sandgatev1.UploadModuleRequest{}
		if errors.Is(rerr, io.EOF) || errors.Is(rerr, io.ErrUnexpectedEOF) {
			break
		}
		if rerr != nil {
			return nil, texts.Errorf("failed to read the file: %w", rerr)
		}
	}
	return stream.CloseAndRecv()
}
