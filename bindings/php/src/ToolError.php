<?php

declare(strict_types=1);

namespace Antenv;

/**
 * Thrown by a tool to fail with a message for the agent, or with content such as an image.
 *
 *     throw new Antenv\ToolError('there is no such city');
 *
 * Other exceptions fail the call, too, with their message; they are written to PHP's error log.
 */
final class ToolError extends \RuntimeException
{
    /**
     * @param string $message The text that the agent gets.
     * @param mixed $content What it gets in place of that: a text, a block, or a list of blocks and texts.
     */
    public function __construct(string $message = '', private readonly mixed $content = null, ?\Throwable $previous = null)
    {
        parent::__construct($message, 0, $previous);
    }

    /** Returns what the agent gets. */
    public function content(): mixed
    {
        return $this->content ?? $this->getMessage();
    }
}
