package client

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strconv"

	"github.com/google/uuid"

	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/model/encrypted"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies/request"
)

// Inputs asks how rows are coded for a model that scores encrypted rows.
func (c *Client) Inputs(ctx context.Context, name string) (*model.Schema, error) {
	in, err := c.Model.GetModelInputs(ctx, &sandgatev1.GetModelInputsRequest{Name: name})
	if err != nil {
		return nil, err
	}
	s, err := model.ParseSchema(in.GetSchema())
	if err != nil {
		return nil, err
	}
	if s.Inputs() > encrypted.MaxInputs || s.Outputs() > encrypted.MaxOutputs {
		return nil, texts.Errorf("the gateway describes a model of more inputs or outputs than encrypted scores take")
	}
	return s, nil
}

// Encrypted is one call on encrypted rows, ready to be sent: Begin, signed, and a
// ciphertext for each input. Its key stays here.
type Encrypted struct {
	Begin *sandgatev1.ScoreEncryptedRequest
	Parts [][]byte
	key   *encrypted.Client
	rows  int
}

// Encrypt encrypts at most encrypted.BlockRows coded rows under a fresh key and signs the
// call. told, which may be nil, is called with how many of the inputs are done.
func (c *Client) Encrypt(name string, s *model.Schema, rows *model.Data, told func(done, of int)) (*Encrypted, error) {
	signer, err := c.signer()
	if err != nil {
		return nil, err
	}
	scheme, err := encrypted.New()
	if err != nil {
		return nil, err
	}
	key, err := scheme.Client(rand.Reader)
	if err != nil {
		return nil, err
	}
	e := &Encrypted{key: key, rows: rows.Rows(), Begin: &sandgatev1.ScoreEncryptedRequest{RequestId: uuid.NewString(), Name: name, Rows: int32(rows.Rows()), Seed: key.Seed(), Key: key.Key()}}
	hash := sha256.New()
	hash.Write(e.Begin.Seed)
	hash.Write(e.Begin.Key)
	err = s.Columns(rows, func(values []float32) error {
		part, err := key.Encrypt(values)
		if err != nil {
			return err
		}
		hash.Write(part)
		if e.Parts = append(e.Parts, part); told != nil {
			told(len(e.Parts), s.Inputs())
		}
		return nil
	})
	if err != nil {
		return nil, texts.Errorf("failed to encrypt rows: %w", err)
	}
	e.Begin.Digest = hash.Sum(nil)
	forgetful := *signer
	forgetful.Keep, forgetful.Salt = nil, nil
	st := request.Statement{Method: request.MethodScoreEncrypted, Request: e.Begin.RequestId,
		Terms: map[string]string{request.TermModel: ModelID(name), request.TermRows: strconv.Itoa(rows.Rows())}}
	e.Begin.SignedRequest, e.Begin.Salt, err = forgetful.Sign(st, request.CiphertextFields(hex.EncodeToString(e.Begin.Digest)))
	return e, err
}

// EncryptedScores is what came back, decrypted: the sums of each row, one for each output
// of the model and row by row. Show them rounded; see encrypted.Client.
type EncryptedScores struct {
	Sums    []float64
	Left    int64
	Receipt *sandgatev1.Receipt
}

// ScoreEncrypted sends a call and opens its answer. The key is gone after it.
func (c *Client) ScoreEncrypted(ctx context.Context, e *Encrypted) (*EncryptedScores, error) {
	defer e.key.Wipe()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Model.ScoreEncrypted(ctx)
	if err != nil {
		return nil, err
	}
	sent := stream.Send(e.Begin)
	for i := 0; i < len(e.Parts) && sent == nil; i++ {
		sent = stream.Send(&sandgatev1.ScoreEncryptedRequest{Ciphertext: e.Parts[i]})
	}
	if sent == nil {
		sent = stream.CloseSend()
	}
	head, err := stream.Recv() // says why, when the gateway ended the sending
	if err != nil {
		return nil, err
	}
	if sent != nil {
		return nil, sent
	}
	var outputs [][]float64
	for {
		msg, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(outputs) == encrypted.MaxOutputs {
			return nil, texts.Errorf("the gateway's answer has more outputs than the model")
		}
		sums, err := e.key.Open(msg.GetCiphertext(), e.rows)
		if err != nil {
			return nil, texts.Errorf("failed to decrypt scores: %w", err)
		}
		outputs = append(outputs, sums)
	}
	out := &EncryptedScores{Left: head.GetRowsLeft(), Receipt: head.GetReceipt()}
	for r := range e.rows {
		for _, sums := range outputs {
			out.Sums = append(out.Sums, sums[r])
		}
	}
	return out, nil
}
