<?php

declare(strict_types=1);

namespace Antenv;

/**
 * A record of the log. Cast to a string, it is its message and its fields.
 */
final class LogRecord implements \Stringable
{
    /**
     * Makes a record.
     *
     * @param string $time When (RFC 3339).
     * @param string $level "error", "warn", "info", "debug" or "trace".
     * @param string $target The part of the library, such as "antenv::client".
     * @param string $message What happened: the same text for all that is the same.
     * @param array<string, mixed> $fields What it happened to. The header of the library lists them.
     */
    public function __construct(
        public readonly string $time,
        public readonly string $level,
        public readonly string $target,
        public readonly string $message,
        public readonly array $fields = [],
    ) {
    }

    /** Returns the level as loggers of PSR-3 name it. */
    public function psrLevel(): string
    {
        return ['warn' => 'warning', 'trace' => 'debug'][$this->level] ?? $this->level;
    }

    public function __toString(): string
    {
        $fields = '';
        foreach ($this->fields as $name => $value) {
            $text = \is_string($value) ? $value : Json::encode($value);
            $fields .= $value === null ? '' : " $name=$text";
        }
        return $this->message . ($fields === '' ? '' : ":$fields");
    }
}
