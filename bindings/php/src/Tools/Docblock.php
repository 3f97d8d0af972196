<?php

declare(strict_types=1);

namespace Antenv\Tools;

/**
 * What a doc comment says of a function and of its parameters.
 *
 * @internal
 */
final class Docblock
{
    /** The text before the first tag. */
    public readonly string $text;
    /** @var array<string, array{type: string, text: string}> What `@param` says, by the parameter's name. */
    public readonly array $params;

    public function __construct(string|false $comment)
    {
        $lines = preg_split('/\R/', (string) preg_replace('~\A/\*\*|\s*\*/\z~', '', (string) $comment)) ?: [];
        $lines = array_map(static fn (string $line): string => (string) preg_replace('/\A\s*\* ?/', '', $line), $lines);
        // A tag is all from its line to the next tag's.
        $parts = preg_split('/^\s*(?=@\w)/m', implode("\n", $lines)) ?: [''];
        $text = str_starts_with(ltrim($parts[0]), '@') ? '' : array_shift($parts);
        $this->text = trim((string) $text);
        $params = [];
        foreach ($parts as $part) {
            if (preg_match('/\A@param\s+(?:(?<type>[^$]*?)\s*)(?:\.\.\.)?\$(?<name>\w+)(?<text>.*)\z/s', $part, $match) === 1) {
                $text = trim((string) preg_replace('/\s+/', ' ', $match['text']));
                $params[$match['name']] = ['type' => trim($match['type'], " &\n"), 'text' => $text];
            }
        }
        $this->params = $params;
    }
}
