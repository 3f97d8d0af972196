<?php

declare(strict_types=1);

namespace Antenv;

/** A call that was submitted to a queue, which this can cancel. */
final class Ticket
{
    /** @internal */
    public function __construct(private readonly Handle $handle)
    {
    }

    /**
     * Cancels the call. Its completion comes at once, with `Exception\Cancelled`; or with the result, if that had
     * arrived. Cancelling twice, or after the call has ended, changes nothing.
     */
    public function cancel(): void
    {
        Native::library()->antenv_ticket_cancel($this->handle->pointer());
    }
}
