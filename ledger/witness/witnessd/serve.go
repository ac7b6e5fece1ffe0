package witnessd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/sandgate/sandgate/ledger/witness"
)

// Handler is the HTTP service, POST /add-checkpoint. logger is told of refusals and
// alarms by name.
func (h *Home) Handler(logger *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, witness.MaxRequest+1))
		if err != nil {
			http.Error(w, string(witness.CodeMalformed), http.StatusBadRequest)
			return
		}
		v, text, err := h.answer(body)
		if err != nil {
			// Nothing is cosigned that is not on the disk.
			logger.Error("nothing was cosigned", "error", err)
			http.Error(w, "the witness cannot write", http.StatusInternalServerError)
			return
		}
		switch {
		case v.Status == http.StatusOK:
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Write(text)
			return
		case v.TellSize:
			w.Header().Set("Content-Type", "text/x.tlog.size")
			w.WriteHeader(v.Status)
			w.Write(text)
		default:
			http.Error(w, string(v.Code), v.Status)
		}
		level := slog.LevelWarn
		switch {
		case v.Code.Alarm():
			level = slog.LevelError
		case v.Code == witness.CodeOtherSize:
			level = slog.LevelInfo
		}
		origin := ""
		if req, err := witness.ParseRequest(body); err == nil {
			origin = printable(req.Origin())
		}
		logger.Log(r.Context(), level, "refused", "code", string(v.Code), "log", origin, "size", v.Offered.N)
	})
	return mux
}

// Serve answers on a listener until ctx ends.
func (h *Home) Serve(ctx context.Context, lis net.Listener, logger *slog.Logger) error {
	s := &http.Server{
		Handler:           h.Handler(logger),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(lis) }()
	select {
	case err := <-failed:
		return fmt.Errorf("failed to serve: %w", err)
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := s.Shutdown(closing); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("failed to stop serving: %w", err)
	}
	return nil
}
