// Stream sends a message to a session, and prints the session's events until the agent's turn ends. It answers calls of the custom tool
// get_time.
//
//	stream SESSION_ID MESSAGE
//
// It reads ANTHROPIC_API_KEY and, if it is set, ANTHROPIC_BASE_URL.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"antenv.internal/antenv"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: stream SESSION_ID MESSAGE")
	}
	client, err := antenv.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := talk(ctx, client.Sessions.Events, os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func talk(ctx context.Context, events *antenv.SessionEvents, session, message string) error {
	// The stream has what happens from now on, so it is opened before the message is sent.
	stream, err := events.Open(ctx, session, antenv.SessionEventStreamParams{})
	if err != nil {
		return err
	}
	defer stream.Close()
	if err := send(ctx, events, session, object{"type": antenv.EventUserMessage, "content": text(message)}); err != nil {
		return err
	}
	for event, err := range stream.Events() {
		if err != nil {
			return err
		}
		fmt.Println(event)
		switch {
		case event.Type == antenv.EventAgentCustomToolUse && event.Name == "get_time":
			now := text(time.Now().Format(time.RFC3339))
			answer := object{"type": antenv.EventUserCustomToolResult, "custom_tool_use_id": event.ID, "content": now}
			if err := send(ctx, events, session, answer); err != nil {
				return err
			}
		case event.Type == antenv.EventSessionStatusTerminated,
			event.Type == antenv.EventSessionStatusIdle && (event.StopReason == nil || event.StopReason.Type != "requires_action"):
			return nil
		}
	}
	return errors.New("the server ended the stream before the turn was over: list the session's events, and open another")
}

type object = map[string]any

func text(of string) []object { return []object{{"type": "text", "text": of}} }

func send(ctx context.Context, events *antenv.SessionEvents, session string, event object) error {
	_, err := events.Send(ctx, session, antenv.SessionEventSendParams{Events: []any{event}})
	return err
}
