package antenv

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
)

// LevelTrace is the level of the most detailed records, below slog.LevelDebug.
const LevelTrace = slog.Level(-8)

var logLevels = []struct {
	name  string
	level slog.Level
}{{"trace", LevelTrace}, {"debug", slog.LevelDebug}, {"info", slog.LevelInfo}, {"warn", slog.LevelWarn}, {"error", slog.LevelError}}

var logging struct {
	sync.Mutex
	queue  *queue
	logger *slog.Logger
}

// SetLogger sends the library's log records to a logger. With nil, as at first, they go nowhere. It reads the logger's level: call it again
// when that has changed. No record holds a secret. A goroutine of its own calls the logger.
func SetLogger(logger *slog.Logger) error {
	logging.Lock()
	defer logging.Unlock()
	if logging.queue != nil {
		logging.queue.close() // which ends the subscription
		logging.queue = nil
	}
	logging.logger = logger
	filter := ""
	for _, one := range logLevels {
		if logger != nil && filter == "" && logger.Enabled(context.Background(), one.level) {
			filter = one.name
		}
	}
	if filter == "" {
		return nil
	}
	q, err := newQueue(func(_ uint64, _ Status, text []byte) { logRecord(logger, text) })
	if err != nil {
		return err
	}
	logging.queue = q
	return subscribeLog(q.handle, filter)
}

// currentLogger returns the logger of SetLogger, or else slog's default logger.
func currentLogger() *slog.Logger {
	logging.Lock()
	defer logging.Unlock()
	if logging.logger == nil {
		return slog.Default()
	}
	return logging.logger
}

func logRecord(logger *slog.Logger, text []byte) {
	var record struct {
		Level   string         `json:"level"`
		Target  string         `json:"target"`
		Message string         `json:"message"`
		Fields  map[string]any `json:"fields"`
	}
	if json.Unmarshal(text, &record) != nil {
		return
	}
	attributes := []slog.Attr{slog.String("target", record.Target)}
	for name, value := range record.Fields {
		attributes = append(attributes, slog.Any(name, value))
	}
	for _, one := range logLevels {
		if one.name == record.Level {
			logger.LogAttrs(context.Background(), one.level, record.Message, attributes...)
		}
	}
}
