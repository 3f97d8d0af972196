<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * What the next holder of a released lease must know: `$lease->release()` returns it.
 */
final class Handover extends Model
{
    protected const SECRET = ['workSecret', 'environment'];

    /** The item's identifier. */
    public readonly string $workID;

    /** The identifier of its environment. */
    public readonly string $environmentID;

    /** The identifier of the session to serve. */
    public readonly string $sessionID;

    /** The last heartbeat, as the server wrote it; null when there was none. */
    public readonly ?string $lastHeartbeat;

    /** Returns the item's credential; null when it has none. No dump shows it. */
    public function workSecret(): ?string
    {
        $secret = $this->toArray()['work_secret'];

        return is_string($secret) ? $secret : null;
    }

    /**
     * Returns the same as environment variables, with the environment's key: for a process that then calls
     * `$client->adopt()`, or an official client's `handle_item`. No dump shows them.
     *
     *     proc_open($command, [], $pipes, null, [...getenv(), ...$handover->environment()]);
     *
     * @return array<string, string>
     */
    public function environment(): array
    {
        /** @var array<string, string> $variables */
        $variables = $this->toArray()['environment'];

        return $variables;
    }
}
