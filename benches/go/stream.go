package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"antenv.internal/antenv"

	"github.com/anthropics/anthropic-sdk-go/v2"
	"github.com/anthropics/anthropic-sdk-go/v2/option"
)

// streamed is the peer's way to read all events of a session: it calls `take` with the id of each.
func streamed(peer, url string) func(ctx context.Context, session string, take func(id string)) error {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	pooled := &http.Client{Transport: transport}
	switch peer {
	case "antenv":
		client, err := antenv.NewClient(antenv.WithAPIKey("an-api-key"), antenv.WithBaseURL(url))
		check(err)
		return func(ctx context.Context, session string, take func(id string)) error {
			for event, err := range client.Sessions.Events.Stream(ctx, session, antenv.SessionEventStreamParams{}) {
				if err != nil {
					return err
				}
				take(event.ID)
			}
			return nil
		}
	case "official":
		client := anthropic.NewClient(option.WithAPIKey("an-api-key"), option.WithBaseURL(url), option.WithHTTPClient(pooled))
		return func(ctx context.Context, session string, take func(id string)) error {
			stream := client.Beta.Sessions.Events.StreamEvents(ctx, session, anthropic.BetaSessionEventStreamParams{})
			defer stream.Close()
			for stream.Next() {
				take(stream.Current().ID)
			}
			return stream.Err()
		}
	case "net/http":
		return func(ctx context.Context, session string, take func(id string)) error {
			request, err := http.NewRequestWithContext(ctx, "GET", url+"/v1/sessions/"+session+"/events/stream", nil)
			if err != nil {
				return err
			}
			request.Header.Set("accept", "text/event-stream")
			request.Header.Set("authorization", "Bearer an-api-key")
			response, err := pooled.Do(request)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			lines := bufio.NewScanner(response.Body)
			for lines.Scan() {
				data, isData := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
				if !isData {
					continue
				}
				var event struct{ ID string }
				if err := json.Unmarshal(data, &event); err != nil {
					return err
				}
				take(event.ID)
			}
			return lines.Err()
		}
	}
	panic("what is " + peer + "?")
}

// streams reads a session's events, first many as fast as they come, then some that come one by one, and prints what that took.
func streams(peer, url, many, paced string) {
	read := streamed(peer, url)
	ctx := context.Background()
	check(read(ctx, "flood-100", func(string) {})) // to warm up
	count := 0
	begun, before := time.Now(), cpu()
	check(read(ctx, "flood-"+many, func(string) { count++ }))
	wall, spent := time.Since(begun), cpu()-before
	var late []int64
	check(read(ctx, "paced-"+paced, func(id string) {
		sent, err := strconv.ParseInt(id, 10, 64)
		check(err)
		late = append(late, time.Now().UnixNano()-sent)
	}))
	if strconv.Itoa(count) != many || strconv.Itoa(len(late)) != paced {
		check(errors.New("not all events came"))
	}
	slices.Sort(late)
	us := func(ns int64) float64 { return float64(ns) / 1e3 }
	fmt.Printf(`{"events_s":%.0f,"cpu_event_us":%.3f,"late_p50_us":%.1f,"late_p99_us":%.1f}`+"\n",
		float64(count)/wall.Seconds(), us(spent.Nanoseconds())/float64(count), us(late[len(late)/2]), us(late[len(late)*99/100]))
}
