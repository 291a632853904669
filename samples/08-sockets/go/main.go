// A web server that takes its socket from procwatch, and ends in order.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

const greeting = "Hello"

func main() {
	// Descriptor 3 is the first socket of `listen`.
	listener, err := net.FileListener(os.NewFile(3, "listen"))
	if err != nil {
		log.Fatalf("no socket at descriptor 3: %v; run it with procwatch", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(greet)}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		<-stop
		// What has been begun is answered; idle connections are closed.
		server.Shutdown(context.Background())
		close(done)
	}()
	if err := server.Serve(listener); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	<-done
}

func greet(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s, world (process %d)\n", greeting, os.Getpid())
}
