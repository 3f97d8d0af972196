package antenv

import "testing"

func TestABatchFreesItsTexts(t *testing.T) {
	queue, err := newQueueHandle()
	if err != nil {
		t.Fatal(err)
	}
	defer freeQueue(queue)
	client, err := newClient([]byte(`{"api_key":"k","base_url":"http://127.0.0.1:1","max_retries":0}` + "\x00"))
	if err != nil {
		t.Fatal(err)
	}
	defer freeClient(client)
	const calls = 100
	for tag := range uint64(calls) {
		list := submission{operation: []byte("environments.list\x00"), params: []byte("{}\x00")}
		if _, err := list.submit(client, queue, tag, false); err != nil {
			t.Fatal(err)
		}
	}
	b := newBatch()
	defer b.free()
	for delivered := 0; delivered < calls; {
		b.next(queue, -1, func(tag uint64, status Status, json []byte) {
			delivered++
			if len(json) == 0 {
				t.Error("a failed call has no text")
			}
		})
		if b.c.count != 0 {
			t.Fatal(b.c.count, "texts are not freed")
		}
	}
}
