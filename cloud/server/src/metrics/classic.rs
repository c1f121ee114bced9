//! Prometheus' older text format (version 0.0.4), made from OpenMetrics: it has no units and no end mark, and calls
//! a counter by the name of its sample.

/// Rewrites what the registry writes, in which the line of help directly precedes the line of the type.
pub(super) fn from_open_metrics(text: &str) -> String {
    let mut classic = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map(|(_, help)| help);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                _ => ("", kind),
            };
            if let Some(help) = help.take() {
                classic.push_str(&format!("# HELP {name}{suffix} {help}\n"));
            }
            classic.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else {
            classic.push_str(line);
            classic.push('\n');
        }
    }
    classic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_renamed_and_units_left_out() {
        let open = "# HELP a_seconds Time.\n# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds 1\n\
                    # HELP b Count.\n# TYPE b counter\nb_total{x=\"y\"} 2\n# EOF\n";
        let classic = "# HELP a_seconds Time.\n# TYPE a_seconds gauge\na_seconds 1\n\
                       # HELP b_total Count.\n# TYPE b_total counter\nb_total{x=\"y\"} 2\n";
        assert_eq!(from_open_metrics(open), classic);
    }
}
